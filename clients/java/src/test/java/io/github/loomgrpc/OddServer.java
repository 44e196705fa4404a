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
import io.grpc.MethodDescriptor;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.ServerMethodDefinition;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
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
            .addService(lenient(bindService()))
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
    if (!request.getModel().equals("has no answer")) {
      answer.onNext(LlmResponse.newBuilder().setModel(request.getModel()).build());
    }
    if (request.getModel().equals("fails after its answer")) {
      answer.onError(Status.INTERNAL.asRuntimeException());
    } else {
      answer.onCompleted();
    }
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

  /** Lets methods with one answer have none, which gRPC's own servers take care of. */
  private static ServerServiceDefinition lenient(ServerServiceDefinition service) {
    ServerServiceDefinition.Builder lenient =
        ServerServiceDefinition.builder("loom_grpc.v1.LlmService");
    service.getMethods().forEach(method -> lenient.addMethod(streaming(method)));
    return lenient.build();
  }

  private static <Q, R> ServerMethodDefinition<Q, R> streaming(
      ServerMethodDefinition<Q, R> method) {
    return ServerMethodDefinition.create(
        method.getMethodDescriptor().toBuilder()
            .setType(MethodDescriptor.MethodType.SERVER_STREAMING)
            .build(),
        method.getServerCallHandler());
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
