import static io.github.loomgrpc.Messages.user;

import io.github.loomgrpc.LoomClient;
import io.github.loomgrpc.LoomException;
import io.github.loomgrpc.LoomStream;
import io.github.loomgrpc.v1.LlmEvent;
import io.github.loomgrpc.v1.LlmRequest;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import sun.misc.Signal;

/**
 * A conversation at the terminal: reads a line, answers as the model speaks, and keeps what was
 * said.
 */
public final class Chat {
  private final LoomClient loom;
  private final LlmRequest.Builder conversation;
  private final PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
  private volatile LoomStream answer;

  private Chat(LoomClient loom, LlmRequest.Builder conversation) {
    this.loom = loom;
    this.conversation = conversation;
  }

  /**
   * Takes {@code --target}, {@code --provider} and {@code --model}, and a key from {@code
   * LOOM_API_KEY}.
   */
  public static void main(String[] args) throws IOException {
    LlmRequest.Builder request = LlmRequest.newBuilder();
    try (LoomClient loom = client(args, request)) {
      new Chat(loom, request).run();
    } catch (IllegalArgumentException wrong) { // an option, the address or the key
      System.err.println(wrong.getMessage());
      System.exit(2);
    }
  }

  private static LoomClient client(String[] args, LlmRequest.Builder request) {
    String target = LoomClient.DEFAULT_TARGET;
    if (args.length % 2 != 0) {
      throw new IllegalArgumentException("Each of --target, --provider and --model has a value.");
    }
    for (int i = 0; i < args.length; i += 2) {
      switch (args[i]) {
        case "--target" -> target = args[i + 1];
        case "--provider" -> request.setProvider(args[i + 1]);
        case "--model" -> request.setModel(args[i + 1]);
        default -> throw new IllegalArgumentException("There is no option " + args[i] + ".");
      }
    }
    LoomClient.Builder builder = LoomClient.builder(target);
    String key = System.getenv("LOOM_API_KEY");
    if (key != null && !key.isEmpty()) {
      builder.apiKey(key);
    }
    return builder.build();
  }

  private void run() throws IOException {
    Signal.handle(new Signal("INT"), signal -> interrupt());
    var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    say("> ");
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      ask(line);
      say("\n> ");
    }
    out.println();
  }

  private void ask(String line) {
    LlmRequest next = conversation.clone().addMessages(user(line)).build();
    try (LoomStream events = loom.stream(next)) {
      answer = events;
      for (LlmEvent event : events) {
        say(event.getTextDelta().getContent());
      }
      // What was not answered is not part of the conversation.
      events
          .response()
          .ifPresent(it -> conversation.addMessages(user(line)).addMessages(it.getMessage()));
    } catch (LoomException failure) {
      say("[" + failure.reasonName() + ": " + failure.getMessage() + "]");
    } finally {
      answer = null;
    }
  }

  private void say(String text) {
    out.print(text);
    out.flush();
  }

  /** Stops the answer that is coming, or, when there is none, the program. */
  private void interrupt() {
    LoomStream events = answer;
    if (events == null) {
      System.exit(130);
    }
    events.close();
  }
}
