package io.github.loomgrpc;

import com.google.protobuf.MessageLite;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.time.Duration;
import java.util.Map;

/** Gives every call on a connection what the client was given. */
record Caller(ManagedChannel connection, Map<String, String> metadata, Duration connectTimeout)
    implements ClientInterceptor {
  static final int MAX_MESSAGE_BYTES = 64 << 20;

  private static final Status TOO_LARGE =
      Status.RESOURCE_EXHAUSTED.withDescription("message too large: over " + MAX_MESSAGE_BYTES);

  Caller {
    metadata = Map.copyOf(metadata);
  }

  @Override
  public <Q, R> ClientCall<Q, R> interceptCall(
      MethodDescriptor<Q, R> method, CallOptions options, Channel next) {
    Connecting connecting = new Connecting(connection);
    return new SimpleForwardingClientCall<>(
        next.newCall(method, options.withStreamTracerFactory(connecting))) {
      private boolean refused;

      @Override
      public void start(Listener<R> listener, Metadata headers) {
        TextMetadata.addMissing(headers, metadata);
        super.start(connecting.listener(listener, options), headers);
        connecting.limit(this, connectTimeout);
      }

      @Override
      public void sendMessage(Q message) {
        // gRPC's own limit throws where nobody listens when the call still waits for its
        // connection, and the call hangs.
        refused = message instanceof MessageLite it && it.getSerializedSize() > MAX_MESSAGE_BYTES;
        if (refused) {
          cancel("The message is too large.", TOO_LARGE.asRuntimeException());
        } else {
          super.sendMessage(message);
        }
      }

      @Override
      public void halfClose() {
        if (!refused) {
          super.halfClose();
        }
      }
    };
  }
}
