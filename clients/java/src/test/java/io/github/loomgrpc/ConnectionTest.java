package io.github.loomgrpc;

import static io.github.loomgrpc.Events.request;
import static io.github.loomgrpc.Events.text;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomgrpc.v1.LlmRequest;
import io.github.loomgrpc.v1.LlmResponse;
import io.grpc.Metadata;
import java.io.IOException;
import java.net.BindException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What goes over the connection, and what happens when it or the server fails. */
@Timeout(30)
class ConnectionTest {
  private static final LlmRequest REQUEST = request("any", "Hello!");

  @Test
  void everyCallShowsTheKeyAndTheMetadata() throws Exception {
    try (OddServer server = new OddServer(0);
        LoomClient loom =
            LoomClient.builder(server.target()).apiKey("secret").metadata("X-Team", "a").build()) {
      loom.complete(REQUEST);
      Metadata own = server.headers.take();
      loom.complete(REQUEST, CallSettings.NONE.withMetadata("x-team", "b"));
      Metadata replaced = server.headers.take();

      assertEquals(List.of("Bearer secret"), all(own, "authorization"));
      assertEquals(List.of("a"), all(own, "x-team"));
      assertTrue(
          all(own, "user-agent").get(0).matches("loom-grpc-java/\\d+\\.\\d+\\.\\d+ .*"),
          own::toString);
      assertEquals(List.of("Bearer secret"), all(replaced, "authorization"));
      assertEquals(List.of("b"), all(replaced, "x-team"));
    }
  }

  @Test
  void theKeyIsNeverShown() {
    LoomClient.Builder builder = LoomClient.builder("127.0.0.1:1").apiKey("secret");
    try (LoomClient loom = builder.build()) {
      LoomException failure = assertThrows(LoomException.class, () -> loom.complete(REQUEST));

      CallSettings settings = CallSettings.NONE.withMetadata("authorization", "Bearer secret");
      for (Object shown : List.of(builder, loom, failure, settings)) {
        String text = shown.toString();
        assertFalse(text.contains("secret"), text);
      }
    }
  }

  @Test
  void whatCannotBeSentIsRefusedWithoutBeingRepeated() {
    LoomClient.Builder builder = LoomClient.builder();
    for (var refused :
        Map.<String, Runnable>of(
                "apiKey: must be printable ASCII without spaces or line breaks",
                () -> builder.apiKey("se cret"),
                "apiKey: is null; set the variable that it comes from",
                () -> builder.apiKey(null),
                "metadata: the value of x-team must be printable ASCII",
                () -> builder.metadata("x-team", "s\u00e9cret"),
                "metadata: \"x team\" is not a name for text",
                () -> CallSettings.NONE.withMetadata("x team", "secret"),
                "metadata: \"x-bin\" is not a name for text",
                () -> CallSettings.NONE.withMetadata("x-bin", "secret"))
            .entrySet()) {
      IllegalArgumentException failure =
          assertThrows(IllegalArgumentException.class, refused.getValue()::run);

      assertEquals(refused.getKey(), failure.getMessage());
    }
  }

  @Test
  void whereNobodyListensACallFailsAtOnce() throws IOException {
    int port = freePort();
    try (LoomClient loom = LoomClient.builder("127.0.0.1:" + port).build()) {
      for (int again = 0; again < 2; again++) {
        LoomException failure = assertThrows(LoomException.class, () -> loom.complete(REQUEST));

        assertEquals("PROVIDER_UNAVAILABLE", failure.reasonName());
        assertEquals(
            Map.of("target", loom.target(), "grpc_code", "UNAVAILABLE"), failure.metadata());
        assertTrue(failure.getMessage().contains("Connection refused"), failure::getMessage);
      }
    }
  }

  @Test
  void aServerThatIsBackIsAskedAtOnce() throws Exception {
    int port = freePort();
    try (LoomClient loom = LoomClient.builder("127.0.0.1:" + port).build()) {
      for (int again = 0; again < 3; again++) {
        assertThrows(LoomException.class, () -> loom.complete(REQUEST));
        try (OddServer server = new OddServer(port)) {
          LlmResponse answer = loom.complete(REQUEST);

          assertEquals(LlmResponse.newBuilder().setModel("any").build(), answer);
          assertEquals(1, server.headers.size());
        }
      }
    }
  }

  @Test
  void aServerThatTakesConnectionsAndSaysNothingFailsCalls() throws IOException {
    try (ServerSocket silent = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
        LoomClient loom =
            LoomClient.builder("127.0.0.1:" + silent.getLocalPort())
                .connectTimeout(Duration.ofMillis(300))
                .build()) {
      LoomException failure =
          assertThrows(LoomException.class, () -> loom.stream(REQUEST).hasNext());

      assertEquals("PROVIDER_UNAVAILABLE", failure.reasonName());
      assertEquals(
          "There is no connection to the server at "
              + loom.target()
              + " (no connection within 300 ms).",
          failure.getMessage());
    }
  }

  @Test
  void aConnectedCallMayTakeLongerThanConnecting() throws Exception {
    try (OddServer server = new OddServer(0);
        LoomClient loom =
            LoomClient.builder(server.target()).connectTimeout(Duration.ofSeconds(2)).build();
        LoomStream events = loom.stream(REQUEST)) {
      assertEquals(text("one"), events.next());
      assertFalse(server.cancelled.await(3, TimeUnit.SECONDS));
      assertEquals(text("two"), events.next());
    }
  }

  @Test
  void closingAStreamCancelsTheCallAtTheServer() throws Exception {
    try (OddServer server = new OddServer(0);
        LoomClient loom = LoomClient.builder(server.target()).build()) {
      try (LoomStream events = loom.stream(REQUEST)) {
        assertEquals(text("one"), events.next());
      }

      assertTrue(server.cancelled.await(10, TimeUnit.SECONDS));
    }
  }

  @Test
  void aStreamThatNobodyHoldsAnyMoreIsCancelled() throws Exception {
    try (OddServer server = new OddServer(0);
        LoomClient loom = LoomClient.builder(server.target()).build()) {
      assertEquals(text("one"), loom.stream(REQUEST).next());

      for (int tries = 0; !server.cancelled.await(100, TimeUnit.MILLISECONDS); tries++) {
        assertTrue(tries < 100);
        System.gc();
      }
    }
  }

  @Test
  void cancellingAFutureCancelsTheCallAtTheServer() throws Exception {
    try (OddServer server = new OddServer(0);
        LoomClient loom = LoomClient.builder(server.target()).build()) {
      CompletableFuture<LlmResponse> answer = loom.completeAsync(request("waits", "Hello!"));
      server.headers.take();
      answer.cancel(true);

      assertTrue(server.cancelled.await(10, TimeUnit.SECONDS));
      assertThrows(CancellationException.class, answer::join);
    }
  }

  @Test
  void anExceptionOfAConsumerCancelsTheCallAtTheServer() throws Exception {
    try (OddServer server = new OddServer(0);
        LoomClient loom = LoomClient.builder(server.target()).build()) {
      IllegalStateException full = new IllegalStateException("full");
      CompletableFuture<LlmResponse> answer =
          loom.streamAsync(
              REQUEST,
              CallSettings.NONE,
              event -> {
                throw full;
              });

      ExecutionException failure = assertThrows(ExecutionException.class, answer::get);
      assertSame(full, failure.getCause());
      assertTrue(server.cancelled.await(10, TimeUnit.SECONDS));
    }
  }

  @Test
  void aTimeLimitEndsACallThatTheServerKeepsOpen() throws Exception {
    CallSettings quick = CallSettings.NONE.withTimeout(Duration.ofMillis(200));
    try (OddServer server = new OddServer(0);
        LoomClient loom = LoomClient.builder(server.target()).build()) {
      LoomException failure =
          assertThrows(LoomException.class, () -> loom.complete(request("waits", "Hello!"), quick));

      assertEquals("PROVIDER_TIMEOUT", failure.reasonName());
      assertEquals("The answer did not come within the time limit.", failure.getMessage());
      assertEquals(
          Map.of("target", loom.target(), "grpc_code", "DEADLINE_EXCEEDED"), failure.metadata());
    }
  }

  @Test
  void aTimeLimitOfTheFutureCancelsTheCall() throws Exception {
    try (OddServer server = new OddServer(0);
        LoomClient loom = LoomClient.builder(server.target()).build()) {
      CompletableFuture<LlmResponse> answer = loom.completeAsync(request("waits", "Hello!"));
      server.headers.take();
      answer.orTimeout(1, TimeUnit.MILLISECONDS);

      assertTrue(server.cancelled.await(10, TimeUnit.SECONDS));
      ExecutionException failure = assertThrows(ExecutionException.class, answer::get);
      assertInstanceOf(TimeoutException.class, failure.getCause());
    }
  }

  @Test
  void anAssertionThatFailsInTheConsumerIsWhatTheFutureFailsWith() throws Exception {
    AssertionError mine = new AssertionError("not what I expected");
    try (OddServer server = new OddServer(0);
        LoomClient loom = LoomClient.builder(server.target()).build()) {
      CompletableFuture<LlmResponse> answer =
          loom.streamAsync(
              REQUEST,
              CallSettings.NONE,
              event -> {
                throw mine;
              });

      ExecutionException failure = assertThrows(ExecutionException.class, answer::get);
      assertSame(mine, failure.getCause());
    }
  }

  @Test
  void anAnswerCountsOnlyWhenTheCallEndsWell() throws Exception {
    try (OddServer server = new OddServer(0);
        LoomClient loom = LoomClient.builder(server.target()).build()) {
      for (String model : List.of("fails after its answer", "has no answer")) {
        LlmRequest request = request(model, "Hello!");
        ExecutionException failure =
            assertThrows(ExecutionException.class, loom.completeAsync(request)::get);

        LoomException same = assertThrows(LoomException.class, () -> loom.complete(request));
        assertEquals("INTERNAL", same.reasonName());
        assertEquals(
            "INTERNAL", assertInstanceOf(LoomException.class, failure.getCause()).reasonName());
      }
    }
  }

  @Test
  void aTimeLimitMayBeForever() throws Exception {
    Duration forever = ChronoUnit.FOREVER.getDuration();
    try (OddServer server = new OddServer(0);
        LoomClient loom =
            LoomClient.builder(server.target()).timeout(forever).connectTimeout(forever).build()) {
      LlmResponse answer = loom.complete(REQUEST);

      assertEquals(LlmResponse.newBuilder().setModel("any").build(), answer);
    }
  }

  @Test
  void aServerThatGoesOnAfterItsAnswerIsNotListenedToForEver() throws Exception {
    LlmRequest request = LlmRequest.newBuilder().setModel("stays").build();
    try (OddServer server = new OddServer(0);
        LoomClient loom = LoomClient.builder(server.target()).build()) {
      LlmResponse answer = loom.streamAsync(request, CallSettings.NONE, event -> {}).get();

      assertEquals(LlmResponse.getDefaultInstance(), answer);
      assertTrue(server.cancelled.await(10, TimeUnit.SECONDS));
    }
  }

  @Test
  void aServerThatGoesAwayInMidStreamEndsItWithAnError() throws Exception {
    OddServer server = new OddServer(0);
    try (LoomClient loom = LoomClient.builder(server.target()).build();
        LoomStream events = loom.stream(REQUEST)) {
      events.next();
      server.close();
      LoomException failure =
          assertThrows(LoomException.class, () -> events.forEachRemaining(event -> {}));

      assertEquals("PROVIDER_UNAVAILABLE", failure.reasonName());
    }
  }

  @Test
  void whatIsTooLargeToSendIsAnInvalidRequest() throws Exception {
    try (OddServer server = new OddServer(0);
        LoomClient loom = LoomClient.builder(server.target()).build()) {
      LoomException failure =
          assertThrows(
              LoomException.class, () -> loom.complete(request("any", "x".repeat(65 << 20))));

      assertEquals("INVALID_REQUEST", failure.reasonName());
      assertEquals("RESOURCE_EXHAUSTED", failure.metadata().get("grpc_code"));
    }
  }

  private static List<String> all(Metadata metadata, String name) {
    Iterable<String> values =
        metadata.getAll(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER));
    return values == null ? List.of() : StreamSupport.stream(values.spliterator(), false).toList();
  }

  /** Returns a port at which nobody listens; below those that the system gives to connections. */
  private static int freePort() throws IOException {
    while (true) {
      int port = ThreadLocalRandom.current().nextInt(12_000, 32_000);
      try (ServerSocket probe = new ServerSocket(port, 1, InetAddress.getLoopbackAddress())) {
        return probe.getLocalPort();
      } catch (BindException taken) {
        continue;
      }
    }
  }
}
