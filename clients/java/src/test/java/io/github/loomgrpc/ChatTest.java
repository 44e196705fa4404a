package io.github.loomgrpc;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The example, as a process of its own; {@code make build} compiles it. */
@Timeout(30)
class ChatTest {
  private static LoomServer server;

  @BeforeAll
  static void start(@TempDir Path folder) throws IOException {
    server = LoomServer.start(folder);
  }

  @AfterAll
  static void stop() {
    server.close();
  }

  @Test
  void itAnswersLineByLine() throws Exception {
    Process chat = chat("mock-echo");
    chat.getOutputStream().write("Grüße!\nYes?\n".getBytes(StandardCharsets.UTF_8));
    chat.getOutputStream().close();

    String shown = new String(chat.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals("> Grüße!\n> Yes?\n> \n", shown);
    assertEquals(0, chat.waitFor());
  }

  @Test
  void itSaysWhyThereIsNoAnswer() throws Exception {
    Process chat = chat("mock-quota");
    chat.getOutputStream().write("Hello!\n".getBytes(StandardCharsets.UTF_8));
    chat.getOutputStream().close();

    String shown = new String(chat.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals("> [PROVIDER_QUOTA_EXCEEDED: ", shown.substring(0, 28));
    assertEquals(0, chat.waitFor());
  }

  @Test
  void itSaysInALineWhatIsWrongWithItsCommandLine() throws Exception {
    Process chat = new ProcessBuilder("examples/chat", "--none", "1").start();

    String told = new String(chat.getErrorStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals("There is no option --none." + System.lineSeparator(), told);
    assertEquals(2, chat.waitFor());
  }

  @Test
  void controlCStopsAnAnswerAndNotTheConversation() throws Exception {
    Process chat = chat("mock-slow");
    try (OutputStream in = chat.getOutputStream();
        InputStream out = chat.getInputStream()) {
      in.write("Hello!\n".getBytes(StandardCharsets.UTF_8));
      in.flush();
      assertEquals("> Hello!", new String(out.readNBytes(8), StandardCharsets.UTF_8));
      new ProcessBuilder("kill", "-INT", Long.toString(chat.pid())).start().waitFor();

      String rest = until(out, "\n> ");
      assertEquals("\n> ", rest.substring(rest.length() - 3));
    }
    assertEquals(0, chat.waitFor());
  }

  private static String until(InputStream out, String end) throws IOException {
    StringBuilder seen = new StringBuilder();
    while (!seen.toString().endsWith(end)) {
      seen.append(new String(out.readNBytes(1), StandardCharsets.UTF_8));
    }
    return seen.toString();
  }

  private static Process chat(String model) throws IOException {
    ProcessBuilder chat =
        new ProcessBuilder(
            "examples/chat", "--target", server.target, "--provider", "mock", "--model", model);
    return chat.redirectError(ProcessBuilder.Redirect.INHERIT).start();
  }
}
