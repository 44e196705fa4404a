package io.github.loomgrpc;

import io.grpc.ClientCall;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;

/** The one answer of a call under way, whose cancelling cancels the call. */
final class Answer<R> extends CompletableFuture<R> implements StreamObserver<R> {
  private final Function<StatusRuntimeException, LoomException> meaning;

  private Answer(Function<StatusRuntimeException, LoomException> meaning) {
    this.meaning = meaning;
  }

  static <Q, R> CompletableFuture<R> of(
      ClientCall<Q, R> call, Q request, Function<StatusRuntimeException, LoomException> meaning) {
    Answer<R> answer = new Answer<>(meaning);
    answer.whenComplete(
        (response, failure) -> {
          if (answer.isCancelled()) {
            call.cancel("The caller left.", null);
          }
        });
    ClientCalls.asyncUnaryCall(call, request, answer);
    return answer;
  }

  @Override
  public void onNext(R response) {
    complete(response);
  }

  @Override
  public void onError(Throwable failure) {
    boolean isStatus = failure instanceof StatusRuntimeException;
    completeExceptionally(isStatus ? meaning.apply((StatusRuntimeException) failure) : failure);
  }

  @Override
  public void onCompleted() {} // asyncUnaryCall has given the one answer, or an error
}
