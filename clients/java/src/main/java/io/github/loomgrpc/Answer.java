package io.github.loomgrpc;

import io.grpc.ClientCall;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;

/** The one answer of a call under way; ended from the caller's side, it cancels the call. */
final class Answer<R> extends CompletableFuture<R> implements StreamObserver<R> {
  private final Function<StatusRuntimeException, LoomException> meaning;
  private R response;

  private Answer(Function<StatusRuntimeException, LoomException> meaning) {
    this.meaning = meaning;
  }

  static <Q, R> CompletableFuture<R> of(
      ClientCall<Q, R> call, Q request, Function<StatusRuntimeException, LoomException> meaning) {
    Answer<R> answer = new Answer<>(meaning);
    answer.whenComplete(
        (response, failure) -> {
          if (failure != null) { // cancelled, for example, or timed out
            call.cancel("The caller left.", null);
          }
        });
    ClientCalls.asyncUnaryCall(call, request, answer);
    return answer;
  }

  @Override
  public void onNext(R response) {
    this.response = response; // which counts when the call has ended well
  }

  @Override
  public void onError(Throwable failure) {
    boolean isStatus = failure instanceof StatusRuntimeException;
    completeExceptionally(isStatus ? meaning.apply((StatusRuntimeException) failure) : failure);
  }

  @Override
  public void onCompleted() {
    if (response == null) {
      onError(Status.INTERNAL.withDescription("no answer came").asRuntimeException());
    } else {
      complete(response);
    }
  }
}
