package io.github.loomgrpc.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * Every large language model behind one contract.
 * Request metadata: `authorization: Bearer &lt;key or JWT&gt;`, `x-request-id`, `loom-events: restarted`, `traceparent`. The call's
 * deadline holds for the provider too, and cancelling the call closes the provider's connection. Trailing metadata:
 * `loom-request-id`, `loom-provider`, `loom-model`, `loom-attempts`, `loom-overhead-ms`, and `loom-cache` where the server's response
 * cache had a part in the call (`hit`, `miss`, `shared`), and, where the caller is under limits of the server,
 * `loom-ratelimit` (such as `requests;limit=600;remaining=599;reset=60.000, tokens;limit=...`, times in seconds), which a stream has at
 * its beginning too. The request metadata `loom-cache` says `yes` to be answered from the cache
 * at any temperature, `no` to be left out of it, `refresh` to have its answer replaced. Errors carry
 * `google.rpc.ErrorInfo` (`domain` is `loom-grpc`, `reason` is a name of ErrorReason without its prefix) and, when the time is
 * known, `google.rpc.RetryInfo`; those of a limit `google.rpc.QuotaFailure`.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class LlmServiceGrpc {

  private LlmServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "loom_grpc.v1.LlmService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.LlmRequest,
      io.github.loomgrpc.v1.LlmResponse> getCompleteMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Complete",
      requestType = io.github.loomgrpc.v1.LlmRequest.class,
      responseType = io.github.loomgrpc.v1.LlmResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.LlmRequest,
      io.github.loomgrpc.v1.LlmResponse> getCompleteMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.LlmRequest, io.github.loomgrpc.v1.LlmResponse> getCompleteMethod;
    if ((getCompleteMethod = LlmServiceGrpc.getCompleteMethod) == null) {
      synchronized (LlmServiceGrpc.class) {
        if ((getCompleteMethod = LlmServiceGrpc.getCompleteMethod) == null) {
          LlmServiceGrpc.getCompleteMethod = getCompleteMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.LlmRequest, io.github.loomgrpc.v1.LlmResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Complete"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.LlmRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.LlmResponse.getDefaultInstance()))
              .setSchemaDescriptor(new LlmServiceMethodDescriptorSupplier("Complete"))
              .build();
        }
      }
    }
    return getCompleteMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.LlmRequest,
      io.github.loomgrpc.v1.LlmEvent> getStreamMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Stream",
      requestType = io.github.loomgrpc.v1.LlmRequest.class,
      responseType = io.github.loomgrpc.v1.LlmEvent.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.LlmRequest,
      io.github.loomgrpc.v1.LlmEvent> getStreamMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.LlmRequest, io.github.loomgrpc.v1.LlmEvent> getStreamMethod;
    if ((getStreamMethod = LlmServiceGrpc.getStreamMethod) == null) {
      synchronized (LlmServiceGrpc.class) {
        if ((getStreamMethod = LlmServiceGrpc.getStreamMethod) == null) {
          LlmServiceGrpc.getStreamMethod = getStreamMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.LlmRequest, io.github.loomgrpc.v1.LlmEvent>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Stream"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.LlmRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.LlmEvent.getDefaultInstance()))
              .setSchemaDescriptor(new LlmServiceMethodDescriptorSupplier("Stream"))
              .build();
        }
      }
    }
    return getStreamMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListModelsRequest,
      io.github.loomgrpc.v1.ListModelsResponse> getListModelsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListModels",
      requestType = io.github.loomgrpc.v1.ListModelsRequest.class,
      responseType = io.github.loomgrpc.v1.ListModelsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListModelsRequest,
      io.github.loomgrpc.v1.ListModelsResponse> getListModelsMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListModelsRequest, io.github.loomgrpc.v1.ListModelsResponse> getListModelsMethod;
    if ((getListModelsMethod = LlmServiceGrpc.getListModelsMethod) == null) {
      synchronized (LlmServiceGrpc.class) {
        if ((getListModelsMethod = LlmServiceGrpc.getListModelsMethod) == null) {
          LlmServiceGrpc.getListModelsMethod = getListModelsMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.ListModelsRequest, io.github.loomgrpc.v1.ListModelsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListModels"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ListModelsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ListModelsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new LlmServiceMethodDescriptorSupplier("ListModels"))
              .build();
        }
      }
    }
    return getListModelsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.LlmRequest,
      io.github.loomgrpc.v1.CountTokensResponse> getCountTokensMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CountTokens",
      requestType = io.github.loomgrpc.v1.LlmRequest.class,
      responseType = io.github.loomgrpc.v1.CountTokensResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.LlmRequest,
      io.github.loomgrpc.v1.CountTokensResponse> getCountTokensMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.LlmRequest, io.github.loomgrpc.v1.CountTokensResponse> getCountTokensMethod;
    if ((getCountTokensMethod = LlmServiceGrpc.getCountTokensMethod) == null) {
      synchronized (LlmServiceGrpc.class) {
        if ((getCountTokensMethod = LlmServiceGrpc.getCountTokensMethod) == null) {
          LlmServiceGrpc.getCountTokensMethod = getCountTokensMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.LlmRequest, io.github.loomgrpc.v1.CountTokensResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CountTokens"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.LlmRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.CountTokensResponse.getDefaultInstance()))
              .setSchemaDescriptor(new LlmServiceMethodDescriptorSupplier("CountTokens"))
              .build();
        }
      }
    }
    return getCountTokensMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.EmbedRequest,
      io.github.loomgrpc.v1.EmbedResponse> getEmbedMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "Embed",
      requestType = io.github.loomgrpc.v1.EmbedRequest.class,
      responseType = io.github.loomgrpc.v1.EmbedResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.EmbedRequest,
      io.github.loomgrpc.v1.EmbedResponse> getEmbedMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.EmbedRequest, io.github.loomgrpc.v1.EmbedResponse> getEmbedMethod;
    if ((getEmbedMethod = LlmServiceGrpc.getEmbedMethod) == null) {
      synchronized (LlmServiceGrpc.class) {
        if ((getEmbedMethod = LlmServiceGrpc.getEmbedMethod) == null) {
          LlmServiceGrpc.getEmbedMethod = getEmbedMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.EmbedRequest, io.github.loomgrpc.v1.EmbedResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "Embed"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.EmbedRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.EmbedResponse.getDefaultInstance()))
              .setSchemaDescriptor(new LlmServiceMethodDescriptorSupplier("Embed"))
              .build();
        }
      }
    }
    return getEmbedMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static LlmServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<LlmServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<LlmServiceStub>() {
        @java.lang.Override
        public LlmServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new LlmServiceStub(channel, callOptions);
        }
      };
    return LlmServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static LlmServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<LlmServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<LlmServiceBlockingV2Stub>() {
        @java.lang.Override
        public LlmServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new LlmServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return LlmServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static LlmServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<LlmServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<LlmServiceBlockingStub>() {
        @java.lang.Override
        public LlmServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new LlmServiceBlockingStub(channel, callOptions);
        }
      };
    return LlmServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static LlmServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<LlmServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<LlmServiceFutureStub>() {
        @java.lang.Override
        public LlmServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new LlmServiceFutureStub(channel, callOptions);
        }
      };
    return LlmServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * Every large language model behind one contract.
   * Request metadata: `authorization: Bearer &lt;key or JWT&gt;`, `x-request-id`, `loom-events: restarted`, `traceparent`. The call's
   * deadline holds for the provider too, and cancelling the call closes the provider's connection. Trailing metadata:
   * `loom-request-id`, `loom-provider`, `loom-model`, `loom-attempts`, `loom-overhead-ms`, and `loom-cache` where the server's response
   * cache had a part in the call (`hit`, `miss`, `shared`), and, where the caller is under limits of the server,
   * `loom-ratelimit` (such as `requests;limit=600;remaining=599;reset=60.000, tokens;limit=...`, times in seconds), which a stream has at
   * its beginning too. The request metadata `loom-cache` says `yes` to be answered from the cache
   * at any temperature, `no` to be left out of it, `refresh` to have its answer replaced. Errors carry
   * `google.rpc.ErrorInfo` (`domain` is `loom-grpc`, `reason` is a name of ErrorReason without its prefix) and, when the time is
   * known, `google.rpc.RetryInfo`; those of a limit `google.rpc.QuotaFailure`.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Answers with the whole answer at once.
     * </pre>
     */
    default void complete(io.github.loomgrpc.v1.LlmRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.LlmResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCompleteMethod(), responseObserver);
    }

    /**
     * <pre>
     * Answers as the model speaks: `started`, deltas, then exactly one `completed` or one `error`.
     * </pre>
     */
    default void stream(io.github.loomgrpc.v1.LlmRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.LlmEvent> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getStreamMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists the models of the configured providers, and the server's routes and aliases.
     * </pre>
     */
    default void listModels(io.github.loomgrpc.v1.ListModelsRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListModelsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListModelsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Counts the prompt tokens of a request without running it.
     * </pre>
     */
    default void countTokens(io.github.loomgrpc.v1.LlmRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CountTokensResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCountTokensMethod(), responseObserver);
    }

    /**
     * <pre>
     * Turns texts into vectors, of which those of like meaning are near each other.
     * </pre>
     */
    default void embed(io.github.loomgrpc.v1.EmbedRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.EmbedResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getEmbedMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service LlmService.
   * <pre>
   * Every large language model behind one contract.
   * Request metadata: `authorization: Bearer &lt;key or JWT&gt;`, `x-request-id`, `loom-events: restarted`, `traceparent`. The call's
   * deadline holds for the provider too, and cancelling the call closes the provider's connection. Trailing metadata:
   * `loom-request-id`, `loom-provider`, `loom-model`, `loom-attempts`, `loom-overhead-ms`, and `loom-cache` where the server's response
   * cache had a part in the call (`hit`, `miss`, `shared`), and, where the caller is under limits of the server,
   * `loom-ratelimit` (such as `requests;limit=600;remaining=599;reset=60.000, tokens;limit=...`, times in seconds), which a stream has at
   * its beginning too. The request metadata `loom-cache` says `yes` to be answered from the cache
   * at any temperature, `no` to be left out of it, `refresh` to have its answer replaced. Errors carry
   * `google.rpc.ErrorInfo` (`domain` is `loom-grpc`, `reason` is a name of ErrorReason without its prefix) and, when the time is
   * known, `google.rpc.RetryInfo`; those of a limit `google.rpc.QuotaFailure`.
   * </pre>
   */
  public static abstract class LlmServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return LlmServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service LlmService.
   * <pre>
   * Every large language model behind one contract.
   * Request metadata: `authorization: Bearer &lt;key or JWT&gt;`, `x-request-id`, `loom-events: restarted`, `traceparent`. The call's
   * deadline holds for the provider too, and cancelling the call closes the provider's connection. Trailing metadata:
   * `loom-request-id`, `loom-provider`, `loom-model`, `loom-attempts`, `loom-overhead-ms`, and `loom-cache` where the server's response
   * cache had a part in the call (`hit`, `miss`, `shared`), and, where the caller is under limits of the server,
   * `loom-ratelimit` (such as `requests;limit=600;remaining=599;reset=60.000, tokens;limit=...`, times in seconds), which a stream has at
   * its beginning too. The request metadata `loom-cache` says `yes` to be answered from the cache
   * at any temperature, `no` to be left out of it, `refresh` to have its answer replaced. Errors carry
   * `google.rpc.ErrorInfo` (`domain` is `loom-grpc`, `reason` is a name of ErrorReason without its prefix) and, when the time is
   * known, `google.rpc.RetryInfo`; those of a limit `google.rpc.QuotaFailure`.
   * </pre>
   */
  public static final class LlmServiceStub
      extends io.grpc.stub.AbstractAsyncStub<LlmServiceStub> {
    private LlmServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected LlmServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new LlmServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Answers with the whole answer at once.
     * </pre>
     */
    public void complete(io.github.loomgrpc.v1.LlmRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.LlmResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCompleteMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Answers as the model speaks: `started`, deltas, then exactly one `completed` or one `error`.
     * </pre>
     */
    public void stream(io.github.loomgrpc.v1.LlmRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.LlmEvent> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getStreamMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists the models of the configured providers, and the server's routes and aliases.
     * </pre>
     */
    public void listModels(io.github.loomgrpc.v1.ListModelsRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListModelsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListModelsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Counts the prompt tokens of a request without running it.
     * </pre>
     */
    public void countTokens(io.github.loomgrpc.v1.LlmRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CountTokensResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCountTokensMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Turns texts into vectors, of which those of like meaning are near each other.
     * </pre>
     */
    public void embed(io.github.loomgrpc.v1.EmbedRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.EmbedResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getEmbedMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service LlmService.
   * <pre>
   * Every large language model behind one contract.
   * Request metadata: `authorization: Bearer &lt;key or JWT&gt;`, `x-request-id`, `loom-events: restarted`, `traceparent`. The call's
   * deadline holds for the provider too, and cancelling the call closes the provider's connection. Trailing metadata:
   * `loom-request-id`, `loom-provider`, `loom-model`, `loom-attempts`, `loom-overhead-ms`, and `loom-cache` where the server's response
   * cache had a part in the call (`hit`, `miss`, `shared`), and, where the caller is under limits of the server,
   * `loom-ratelimit` (such as `requests;limit=600;remaining=599;reset=60.000, tokens;limit=...`, times in seconds), which a stream has at
   * its beginning too. The request metadata `loom-cache` says `yes` to be answered from the cache
   * at any temperature, `no` to be left out of it, `refresh` to have its answer replaced. Errors carry
   * `google.rpc.ErrorInfo` (`domain` is `loom-grpc`, `reason` is a name of ErrorReason without its prefix) and, when the time is
   * known, `google.rpc.RetryInfo`; those of a limit `google.rpc.QuotaFailure`.
   * </pre>
   */
  public static final class LlmServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<LlmServiceBlockingV2Stub> {
    private LlmServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected LlmServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new LlmServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Answers with the whole answer at once.
     * </pre>
     */
    public io.github.loomgrpc.v1.LlmResponse complete(io.github.loomgrpc.v1.LlmRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCompleteMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Answers as the model speaks: `started`, deltas, then exactly one `completed` or one `error`.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.github.loomgrpc.v1.LlmEvent>
        stream(io.github.loomgrpc.v1.LlmRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getStreamMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists the models of the configured providers, and the server's routes and aliases.
     * </pre>
     */
    public io.github.loomgrpc.v1.ListModelsResponse listModels(io.github.loomgrpc.v1.ListModelsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListModelsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Counts the prompt tokens of a request without running it.
     * </pre>
     */
    public io.github.loomgrpc.v1.CountTokensResponse countTokens(io.github.loomgrpc.v1.LlmRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCountTokensMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Turns texts into vectors, of which those of like meaning are near each other.
     * </pre>
     */
    public io.github.loomgrpc.v1.EmbedResponse embed(io.github.loomgrpc.v1.EmbedRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getEmbedMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service LlmService.
   * <pre>
   * Every large language model behind one contract.
   * Request metadata: `authorization: Bearer &lt;key or JWT&gt;`, `x-request-id`, `loom-events: restarted`, `traceparent`. The call's
   * deadline holds for the provider too, and cancelling the call closes the provider's connection. Trailing metadata:
   * `loom-request-id`, `loom-provider`, `loom-model`, `loom-attempts`, `loom-overhead-ms`, and `loom-cache` where the server's response
   * cache had a part in the call (`hit`, `miss`, `shared`), and, where the caller is under limits of the server,
   * `loom-ratelimit` (such as `requests;limit=600;remaining=599;reset=60.000, tokens;limit=...`, times in seconds), which a stream has at
   * its beginning too. The request metadata `loom-cache` says `yes` to be answered from the cache
   * at any temperature, `no` to be left out of it, `refresh` to have its answer replaced. Errors carry
   * `google.rpc.ErrorInfo` (`domain` is `loom-grpc`, `reason` is a name of ErrorReason without its prefix) and, when the time is
   * known, `google.rpc.RetryInfo`; those of a limit `google.rpc.QuotaFailure`.
   * </pre>
   */
  public static final class LlmServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<LlmServiceBlockingStub> {
    private LlmServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected LlmServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new LlmServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Answers with the whole answer at once.
     * </pre>
     */
    public io.github.loomgrpc.v1.LlmResponse complete(io.github.loomgrpc.v1.LlmRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCompleteMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Answers as the model speaks: `started`, deltas, then exactly one `completed` or one `error`.
     * </pre>
     */
    public java.util.Iterator<io.github.loomgrpc.v1.LlmEvent> stream(
        io.github.loomgrpc.v1.LlmRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getStreamMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists the models of the configured providers, and the server's routes and aliases.
     * </pre>
     */
    public io.github.loomgrpc.v1.ListModelsResponse listModels(io.github.loomgrpc.v1.ListModelsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListModelsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Counts the prompt tokens of a request without running it.
     * </pre>
     */
    public io.github.loomgrpc.v1.CountTokensResponse countTokens(io.github.loomgrpc.v1.LlmRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCountTokensMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Turns texts into vectors, of which those of like meaning are near each other.
     * </pre>
     */
    public io.github.loomgrpc.v1.EmbedResponse embed(io.github.loomgrpc.v1.EmbedRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getEmbedMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service LlmService.
   * <pre>
   * Every large language model behind one contract.
   * Request metadata: `authorization: Bearer &lt;key or JWT&gt;`, `x-request-id`, `loom-events: restarted`, `traceparent`. The call's
   * deadline holds for the provider too, and cancelling the call closes the provider's connection. Trailing metadata:
   * `loom-request-id`, `loom-provider`, `loom-model`, `loom-attempts`, `loom-overhead-ms`, and `loom-cache` where the server's response
   * cache had a part in the call (`hit`, `miss`, `shared`), and, where the caller is under limits of the server,
   * `loom-ratelimit` (such as `requests;limit=600;remaining=599;reset=60.000, tokens;limit=...`, times in seconds), which a stream has at
   * its beginning too. The request metadata `loom-cache` says `yes` to be answered from the cache
   * at any temperature, `no` to be left out of it, `refresh` to have its answer replaced. Errors carry
   * `google.rpc.ErrorInfo` (`domain` is `loom-grpc`, `reason` is a name of ErrorReason without its prefix) and, when the time is
   * known, `google.rpc.RetryInfo`; those of a limit `google.rpc.QuotaFailure`.
   * </pre>
   */
  public static final class LlmServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<LlmServiceFutureStub> {
    private LlmServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected LlmServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new LlmServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Answers with the whole answer at once.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.LlmResponse> complete(
        io.github.loomgrpc.v1.LlmRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCompleteMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists the models of the configured providers, and the server's routes and aliases.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.ListModelsResponse> listModels(
        io.github.loomgrpc.v1.ListModelsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListModelsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Counts the prompt tokens of a request without running it.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.CountTokensResponse> countTokens(
        io.github.loomgrpc.v1.LlmRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCountTokensMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Turns texts into vectors, of which those of like meaning are near each other.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.EmbedResponse> embed(
        io.github.loomgrpc.v1.EmbedRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getEmbedMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_COMPLETE = 0;
  private static final int METHODID_STREAM = 1;
  private static final int METHODID_LIST_MODELS = 2;
  private static final int METHODID_COUNT_TOKENS = 3;
  private static final int METHODID_EMBED = 4;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final AsyncService serviceImpl;
    private final int methodId;

    MethodHandlers(AsyncService serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_COMPLETE:
          serviceImpl.complete((io.github.loomgrpc.v1.LlmRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.LlmResponse>) responseObserver);
          break;
        case METHODID_STREAM:
          serviceImpl.stream((io.github.loomgrpc.v1.LlmRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.LlmEvent>) responseObserver);
          break;
        case METHODID_LIST_MODELS:
          serviceImpl.listModels((io.github.loomgrpc.v1.ListModelsRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListModelsResponse>) responseObserver);
          break;
        case METHODID_COUNT_TOKENS:
          serviceImpl.countTokens((io.github.loomgrpc.v1.LlmRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CountTokensResponse>) responseObserver);
          break;
        case METHODID_EMBED:
          serviceImpl.embed((io.github.loomgrpc.v1.EmbedRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.EmbedResponse>) responseObserver);
          break;
        default:
          throw new AssertionError();
      }
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public io.grpc.stub.StreamObserver<Req> invoke(
        io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        default:
          throw new AssertionError();
      }
    }
  }

  public static final io.grpc.ServerServiceDefinition bindService(AsyncService service) {
    return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
        .addMethod(
          getCompleteMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.LlmRequest,
              io.github.loomgrpc.v1.LlmResponse>(
                service, METHODID_COMPLETE)))
        .addMethod(
          getStreamMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.LlmRequest,
              io.github.loomgrpc.v1.LlmEvent>(
                service, METHODID_STREAM)))
        .addMethod(
          getListModelsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.ListModelsRequest,
              io.github.loomgrpc.v1.ListModelsResponse>(
                service, METHODID_LIST_MODELS)))
        .addMethod(
          getCountTokensMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.LlmRequest,
              io.github.loomgrpc.v1.CountTokensResponse>(
                service, METHODID_COUNT_TOKENS)))
        .addMethod(
          getEmbedMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.EmbedRequest,
              io.github.loomgrpc.v1.EmbedResponse>(
                service, METHODID_EMBED)))
        .build();
  }

  private static abstract class LlmServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    LlmServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return io.github.loomgrpc.v1.LlmServiceProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("LlmService");
    }
  }

  private static final class LlmServiceFileDescriptorSupplier
      extends LlmServiceBaseDescriptorSupplier {
    LlmServiceFileDescriptorSupplier() {}
  }

  private static final class LlmServiceMethodDescriptorSupplier
      extends LlmServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    LlmServiceMethodDescriptorSupplier(java.lang.String methodName) {
      this.methodName = methodName;
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.MethodDescriptor getMethodDescriptor() {
      return getServiceDescriptor().findMethodByName(methodName);
    }
  }

  private static volatile io.grpc.ServiceDescriptor serviceDescriptor;

  public static io.grpc.ServiceDescriptor getServiceDescriptor() {
    io.grpc.ServiceDescriptor result = serviceDescriptor;
    if (result == null) {
      synchronized (LlmServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new LlmServiceFileDescriptorSupplier())
              .addMethod(getCompleteMethod())
              .addMethod(getStreamMethod())
              .addMethod(getListModelsMethod())
              .addMethod(getCountTokensMethod())
              .addMethod(getEmbedMethod())
              .build();
        }
      }
    }
    return result;
  }
}
