package io.github.loomgrpc;

import io.github.loomgrpc.v1.Completed;
import io.github.loomgrpc.v1.LlmEvent;
import io.github.loomgrpc.v1.LlmRequest;
import io.github.loomgrpc.v1.LlmResponse;
import io.github.loomgrpc.v1.LlmServiceGrpc;
import io.grpc.ForwardingServerCallListener.SimpleForwardingServerCallListener;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;

/** A server that notes what callers send, and answers half: its streams never end by themselves. */
final class OddServer extends LlmServiceGrpc.LlmServiceImplBase
    implements ServerInterceptor, AutoCloseable {
  final BlockingQueue<Metadata> headers = new LinkedBlockingQueue<>();
  final CountDownLatch cancelled = new CountDownLatch(1);
  private final Server server;

  OddServer(int port) throws IOException {
    server =
        Grpc.newServerBuilderForPort(port, InsecureServerCredentials.create())
            .addService(this)
            .intercept(this)
            .build()
            .start();
  }

  int port() {
    return server.getPort();
  }

  String target() {
    return "127.0.0.1:" + port();
  }

  @Override
  public void complete(LlmRequest request, StreamObserver<LlmResponse> answer) {
    if (request.getModel().equals("waits")) {
      return;
    }
    answer.onNext(LlmResponse.newBuilder().setModel(request.getModel()).build());
    answer.onCompleted();
  }

  @Override
  public void stream(LlmRequest request, StreamObserver<LlmEvent> answer) {
    if (request.getModel().equals("stays")) {
      answer.onNext(LlmEvent.newBuilder().setCompleted(Completed.getDefaultInstance()).build());
      return;
    }
    answer.onNext(Events.text("one"));
    answer.onNext(Events.text("two"));
  }

  @Override
  public <Q, R> ServerCall.Listener<Q> interceptCall(
      ServerCall<Q, R> call, Metadata metadata, ServerCallHandler<Q, R> next) {
    headers.add(metadata);
    return new SimpleForwardingServerCallListener<>(next.startCall(call, metadata)) {
      @Override
      public void onCancel() {
        cancelled.countDown();
        super.onCancel();
      }
    };
  }

  /** Breaks every connection off, and waits until the port is free. */
  @Override
  public void close() {
    server.shutdownNow();
    try {
      server.awaitTermination();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }
}
