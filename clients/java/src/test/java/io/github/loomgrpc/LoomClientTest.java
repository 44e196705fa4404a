package io.github.loomgrpc;

import static io.github.loomgrpc.Events.request;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.loomgrpc.v1.AdminServiceGrpc;
import io.github.loomgrpc.v1.CountTokensResponse;
import io.github.loomgrpc.v1.EmbedInput;
import io.github.loomgrpc.v1.EmbedRequest;
import io.github.loomgrpc.v1.EmbedResponse;
import io.github.loomgrpc.v1.EnableAccountRequest;
import io.github.loomgrpc.v1.ErrorReason;
import io.github.loomgrpc.v1.LlmEvent;
import io.github.loomgrpc.v1.LlmResponse;
import io.github.loomgrpc.v1.Model;
import io.github.loomgrpc.v1.StopReason;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The client against the real server. */
@Timeout(30)
class LoomClientTest {
  private static LoomServer server;
  private static LoomClient loom;

  @BeforeAll
  static void start(@TempDir Path folder) throws IOException {
    server = LoomServer.start(folder);
    loom = LoomClient.builder(server.target).timeout(Duration.ofSeconds(20)).build();
  }

  @AfterAll
  static void stop() {
    loom.close();
    server.close();
  }

  @Test
  void completeReturnsTheWholeAnswer() {
    LlmResponse answer = loom.complete(request("mock-echo", "Grüße, 🌍!"));

    assertEquals(Messages.assistant("Grüße, 🌍!"), answer.getMessage());
    assertEquals(StopReason.STOP_REASON_STOP, answer.getStopReason());
    assertEquals("mock", answer.getProvider());
  }

  @Test
  void streamBeginsWithStartedAndEndsWithTheWholeAnswer() {
    List<LlmEvent.EventCase> kinds = new ArrayList<>();
    StringBuilder text = new StringBuilder();
    try (LoomStream events = loom.stream(request("mock-think", "Hello!"))) {
      for (LlmEvent event : events) {
        kinds.add(event.getEventCase());
        text.append(event.getTextDelta().getContent());
      }

      assertEquals(LlmEvent.EventCase.STARTED, kinds.get(0));
      assertEquals(LlmEvent.EventCase.COMPLETED, kinds.get(kinds.size() - 1));
      assertTrue(kinds.contains(LlmEvent.EventCase.THINKING_DELTA));
      assertEquals(text.toString(), events.response().orElseThrow().getMessage().getContent());
      assertEquals(
          Set.of(
              "loom-attempts",
              "loom-model",
              "loom-overhead-ms",
              "loom-provider",
              "loom-request-id"),
          events.trailers().keySet());
      assertFalse(events.hasNext());
    }
  }

  @Test
  void eventsAreAlsoThereAsAStream() {
    try (LoomStream events = loom.stream(request("mock-echo", "one two"));
        Stream<LlmEvent> stream = events.events()) {
      String text =
          stream.map(event -> event.getTextDelta().getContent()).collect(Collectors.joining());

      assertEquals("one two", text);
    }
  }

  @Test
  void aFailedCallTellsItsReasonAndWhenToAskAgain() {
    LoomException failure =
        assertThrows(LoomException.class, () -> loom.complete(request("mock-429", "Hello!")));

    assertEquals(ErrorReason.ERROR_REASON_PROVIDER_RATE_LIMITED, failure.reason());
    assertEquals("PROVIDER_RATE_LIMITED", failure.reasonName());
    assertEquals(Optional.of(Duration.ofSeconds(1)), failure.retryAfter());
    assertEquals("429", failure.metadata().get("provider_status"));
    assertEquals(
        "io.github.loomgrpc.LoomException: PROVIDER_RATE_LIMITED: " + failure.getMessage(),
        failure.toString());
  }

  @Test
  void aStreamThatBreaksOffThrowsWithWhatHadArrived() {
    StringBuilder text = new StringBuilder();
    try (LoomStream events = loom.stream(request("mock-error", "Hello!"))) {
      LoomException failure =
          assertThrows(
              LoomException.class,
              () -> events.forEachRemaining(it -> text.append(it.getTextDelta().getContent())));

      assertEquals("PROVIDER_UNAVAILABLE", failure.reasonName());
      assertEquals(text.toString(), failure.partial().orElseThrow().getMessage().getContent());
      assertEquals(events.trailers().get("loom-request-id"), failure.metadata().get("request_id"));
      assertEquals(Optional.empty(), events.response());
      assertFalse(events.hasNext());
    }
  }

  @Test
  void aCallEndsWithItsTimeLimit() {
    CallSettings quick = CallSettings.NONE.withTimeout(Duration.ofMillis(200));

    LoomException failure =
        assertThrows(
            LoomException.class, () -> loom.complete(request("mock-slow", "Hello!"), quick));

    // In whose words depends on whose clock is first, this one's or the server's.
    assertEquals("PROVIDER_TIMEOUT", failure.reasonName());
  }

  @Test
  void closingAStreamEndsIt() {
    LoomStream events = loom.stream(request("mock-slow", "Hello!"));
    events.next();
    events.close();

    assertFalse(events.hasNext());
    assertEquals(Optional.empty(), events.response());
  }

  @Test
  void interruptingAThreadCancelsItsCall() {
    Thread.currentThread().interrupt();
    assertThrows(CancellationException.class, () -> loom.complete(request("mock-slow", "Hello!")));
    assertTrue(Thread.interrupted());

    try (LoomStream events = loom.stream(request("mock-slow", "Hello!"))) {
      Thread.currentThread().interrupt();
      assertThrows(CancellationException.class, events::next);
      assertTrue(Thread.interrupted());
      assertFalse(events.hasNext());
    }
  }

  @Test
  void completeAsyncAnswersAndFailsLikeComplete() throws Exception {
    assertEquals(
        Messages.assistant("Hi!"),
        loom.completeAsync(request("mock-echo", "Hi!")).get().getMessage());

    ExecutionException failure =
        assertThrows(
            ExecutionException.class, loom.completeAsync(request("mock-context", "Hi!"))::get);
    LoomException cause = assertInstanceOf(LoomException.class, failure.getCause());
    assertEquals("CONTEXT_TOO_LONG", cause.reasonName());
  }

  @Test
  void streamAsyncTellsEveryEventAndEndsWithTheWholeAnswer() throws Exception {
    StringBuffer text = new StringBuffer();
    LlmResponse answer =
        loom.streamAsync(
                request("mock-think", "Hello!"),
                CallSettings.NONE,
                event -> text.append(event.getTextDelta().getContent()))
            .get();

    assertEquals(text.toString(), answer.getMessage().getContent());
  }

  @Test
  void streamAsyncFailsLikeAStream() {
    StringBuffer text = new StringBuffer();
    var answer =
        loom.streamAsync(
            request("mock-error", "Hello!"),
            CallSettings.NONE,
            event -> text.append(event.getTextDelta().getContent()));

    ExecutionException failure = assertThrows(ExecutionException.class, answer::get);
    LoomException cause = assertInstanceOf(LoomException.class, failure.getCause());
    assertEquals("PROVIDER_UNAVAILABLE", cause.reasonName());
    assertEquals(text.toString(), cause.partial().orElseThrow().getMessage().getContent());
    assertEquals(Set.of("provider_code", "request_id"), cause.metadata().keySet());
  }

  @Test
  void countTokensCounts() {
    CountTokensResponse count = loom.countTokens(request("mock-words", "one two three"));

    assertEquals("mock-words", count.getModel());
    assertTrue(count.getInputTokens() >= 3);
  }

  @Test
  void embedGivesAVectorForEachInput() {
    EmbedRequest request =
        EmbedRequest.newBuilder()
            .setModel("mock/mock-embed")
            .addInputs(EmbedInput.newBuilder().setText("one"))
            .addInputs(EmbedInput.newBuilder().setText("two"))
            .build();

    EmbedResponse answer = loom.embed(request);

    assertEquals(2, answer.getEmbeddingsCount());
  }

  @Test
  void listModelsListsThemAll() {
    List<String> ids = loom.listModels().stream().map(Model::getId).toList();

    assertTrue(ids.containsAll(List.of("mock-words", "mock-echo", "mock-think")), ids.toString());
    assertEquals(ids.stream().sorted().toList(), ids);
  }

  @Test
  void otherServicesAreAskedOnTheSameConnection() {
    try (LoomClient operator =
        LoomClient.builder(server.target).apiKey(LoomServer.ADMIN_KEY).build()) {
      var admin = AdminServiceGrpc.newBlockingStub(operator.channel());
      var nobody = EnableAccountRequest.newBuilder().setProvider("mock").setId("nobody").build();
      StatusRuntimeException failure =
          assertThrows(StatusRuntimeException.class, () -> admin.enableAccount(nobody));

      assertEquals(
          ErrorReason.ERROR_REASON_ACCOUNT_NOT_FOUND, operator.exception(failure).reason());
    }
  }
}
