package io.github.loomgrpc;

import io.grpc.Attributes;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ClientStreamTracer;
import io.grpc.ConnectivityState;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;

/** Sees to it that a call which finds no connection soon gets one, or an error. */
final class Connecting extends ClientStreamTracer.Factory {
  private final ManagedChannel connection;
  private final CompletableFuture<Boolean> settled = new CompletableFuture<>();

  Connecting(ManagedChannel connection) {
    this.connection = connection;
  }

  @Override
  public ClientStreamTracer newClientStreamTracer(
      ClientStreamTracer.StreamInfo info, Metadata headers) {
    return new ClientStreamTracer() {
      @Override
      public void streamCreated(Attributes transport, Metadata headers) {
        settled.complete(true);
      }

      @Override
      public void streamClosed(Status status) {
        settled.complete(true);
      }
    };
  }

  /**
   * Fails the call if it has neither a connection nor an end when the time is over. Without it a
   * call waits for ever for a server that takes connections and then says nothing: gRPC limits
   * neither that nor the look-up of a name.
   */
  void limit(ClientCall<?, ?> call, Duration limit) {
    settled
        .completeOnTimeout(false, TimeUnit.NANOSECONDS.convert(limit), TimeUnit.NANOSECONDS)
        .thenAcceptAsync(
            inTime -> {
              if (!inTime) {
                String why = "no connection within " + limit.toMillis() + " ms";
                call.cancel(why, Status.UNAVAILABLE.withDescription(why).asRuntimeException());
              }
            });
  }

  /**
   * Lets the next call try anew when this one found no connection: gRPC would fail it without a try
   * for 1 s to 2 min, also when the server is back by then. The caller is told when that is done,
   * or its next call could come before.
   */
  <R> ClientCall.Listener<R> listener(ClientCall.Listener<R> caller, CallOptions options) {
    Executor executor = Objects.requireNonNullElse(options.getExecutor(), Runnable::run);
    return new SimpleForwardingClientCallListener<>(caller) {
      @Override
      public void onClose(Status status, Metadata trailers) {
        if (status.getCode() != Status.Code.UNAVAILABLE
            || connection.getState(false) == ConnectivityState.READY) {
          super.onClose(status, trailers);
          return;
        }
        // First gRPC has to be done with this call, for which it would otherwise begin to connect
        // again by itself.
        afterWhatIsUnderWay(
            () -> {
              if (connection.getState(false) == ConnectivityState.TRANSIENT_FAILURE) {
                connection.enterIdle();
              }
              afterWhatIsUnderWay(() -> executor.execute(() -> super.onClose(status, trailers)));
            });
      }
    };
  }

  /**
   * Runs something when gRPC has done what it has begun with the connection, in whose turn it also
   * tells of its state.
   */
  private void afterWhatIsUnderWay(Runnable next) {
    CompletableFuture<Void> done = new CompletableFuture<>();
    // It tells at once of a state other than the named one, and can be in one of these two.
    for (ConnectivityState not : List.of(ConnectivityState.READY, ConnectivityState.SHUTDOWN)) {
      connection.notifyWhenStateChanged(not, () -> done.complete(null));
    }
    done.thenRun(next);
  }
}
