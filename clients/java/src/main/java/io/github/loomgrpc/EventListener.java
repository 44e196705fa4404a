package io.github.loomgrpc;

import io.github.loomgrpc.v1.Error;
import io.github.loomgrpc.v1.LlmEvent;
import io.github.loomgrpc.v1.LlmRequest;
import io.github.loomgrpc.v1.LlmResponse;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** Tells a consumer of the events of a call under way, one after the other. */
final class EventListener extends ClientCall.Listener<LlmEvent> {
  private final ClientCall<LlmRequest, LlmEvent> call;
  private final String target;
  private final Consumer<LlmEvent> consumer;
  private final CompletableFuture<LlmResponse> answer = new CompletableFuture<>();
  private volatile Error error;

  private EventListener(
      ClientCall<LlmRequest, LlmEvent> call, String target, Consumer<LlmEvent> consumer) {
    this.call = call;
    this.target = target;
    this.consumer = consumer;
  }

  static CompletableFuture<LlmResponse> start(
      ClientCall<LlmRequest, LlmEvent> call,
      LlmRequest request,
      String target,
      Consumer<LlmEvent> consumer) {
    EventListener listener = new EventListener(call, target, consumer);
    listener.answer.whenComplete(
        (response, failure) -> {
          if (failure != null) { // also cancelled; a whole answer lets the server end the call
            call.cancel("The caller left.", null);
          }
        });
    call.start(listener, new Metadata());
    call.sendMessage(request);
    call.halfClose();
    call.request(1);
    return listener.answer;
  }

  @Override
  public void onMessage(LlmEvent event) {
    call.request(1);
    if (answer.isDone()) {
      return;
    }
    if (event.hasError()) {
      error = event.getError();
      // The status that follows knows more, but a server that keeps the call open is not waited
      // for.
      soon(() -> onClose(Status.OK, new Metadata()));
      return;
    }
    tell(event);
    if (event.hasCompleted()) {
      answer.complete(event.getCompleted().getResponse());
      // Without effect on a call that the server has ended by then.
      soon(() -> call.cancel("The server goes on after its answer.", null));
    }
  }

  @Override
  public void onClose(Status status, Metadata trailers) {
    if (!answer.isDone()) {
      answer.completeExceptionally(Failure.of(error, new EventCall.End(status, trailers), target));
    }
  }

  private static void soon(Runnable what) {
    CompletableFuture.delayedExecutor(LoomStream.END_MS, TimeUnit.MILLISECONDS).execute(what);
  }

  private void tell(LlmEvent event) {
    try {
      consumer.accept(event);
    } catch (RuntimeException
        | java.lang.Error failure) { // the consumer's own, which ends the call
      answer.completeExceptionally(failure);
    }
  }
}
