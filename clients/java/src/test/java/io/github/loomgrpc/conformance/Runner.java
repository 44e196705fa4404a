package io.github.loomgrpc.conformance;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.MessageLite;
import io.github.loomgrpc.LoomClient;
import io.github.loomgrpc.LoomException;
import io.github.loomgrpc.LoomStream;
import io.github.loomgrpc.v1.EmbedRequest;
import io.github.loomgrpc.v1.ListModelsResponse;
import io.github.loomgrpc.v1.LlmEvent;
import io.github.loomgrpc.v1.LlmRequest;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;

/**
 * Carries out the cases that the conformance driver writes to it, a line each, and prints what came
 * of each.
 */
public final class Runner {
  private static final Gson JSON =
      new GsonBuilder().serializeNulls().disableHtmlEscaping().create();

  private final Map<Case.Connection, LoomClient> clients = new HashMap<>();

  /** Runs until there are no more cases. */
  public static void main(String[] args) throws IOException, InterruptedException {
    var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    Runner runner = new Runner();
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      out.println(JSON.toJson(runner.run(JSON.fromJson(line, Case.class))));
    }
    runner.clients.values().forEach(LoomClient::close);
  }

  /**
   * Carries a case out in a thread of its own, so that cancelling from outside is to interrupt that
   * thread.
   */
  private Object run(Case it) throws InterruptedException {
    List<Object> outcome = new ArrayList<>();
    Thread thread = new Thread(() -> outcome.add(outcome(it)));
    thread.start();
    if (it.cancelAfterMs() != null) {
      thread.join(Math.max(1, it.cancelAfterMs()));
      thread.interrupt();
    }
    thread.join();
    return outcome.get(0);
  }

  private Object outcome(Case it) {
    Outcome outcome = new Outcome(it.name());
    long begin = System.nanoTime();
    try {
      LoomClient client = clients.computeIfAbsent(it.connection(), Case.Connection::open);
      carryOut(client, it, outcome);
    } catch (LoomException failure) {
      outcome.error = Outcome.Failure.of(failure);
    } catch (CancellationException cancelled) {
      outcome.cancelled = true;
    } catch (RuntimeException | InvalidProtocolBufferException impossible) {
      impossible.printStackTrace();
      return new Outcome.Impossible(it.name(), impossible.toString());
    }
    outcome.elapsedMs = (System.nanoTime() - begin) / 1e6;
    return outcome;
  }

  private static void carryOut(LoomClient client, Case it, Outcome outcome)
      throws InvalidProtocolBufferException {
    if (it.method().equals("stream")) {
      stream(client, it, outcome);
    } else {
      outcome.response = Outcome.base64(answer(client, it));
    }
  }

  private static MessageLite answer(LoomClient client, Case it)
      throws InvalidProtocolBufferException {
    byte[] request = it.requestBytes();
    return switch (it.method()) {
      case "complete" -> client.complete(LlmRequest.parseFrom(request), it.settings());
      case "count_tokens" -> client.countTokens(LlmRequest.parseFrom(request), it.settings());
      case "embed" -> client.embed(EmbedRequest.parseFrom(request), it.settings());
      case "list_models" ->
          ListModelsResponse.newBuilder()
              .addAllModels(client.listModels("", it.settings()))
              .build();
      default -> throw new IllegalArgumentException("There is no method " + it.method() + ".");
    };
  }

  private static void stream(LoomClient client, Case it, Outcome outcome)
      throws InvalidProtocolBufferException {
    outcome.events = new ArrayList<>();
    LlmRequest request = LlmRequest.parseFrom(it.requestBytes());
    LoomStream stream = client.stream(request, it.settings());
    try (stream) {
      for (LlmEvent event : stream) {
        outcome.add(event);
        if (it.cancelAfterEvents() != null && outcome.events.size() >= it.cancelAfterEvents()) {
          outcome.cancelled = true;
          break;
        }
      }
      outcome.response = stream.response().map(Outcome::base64).orElse(null);
    } finally {
      Thread.interrupted(); // or waiting for the trailers would end at once
      stream.close();
      outcome.trailers = stream.trailers();
    }
  }
}
