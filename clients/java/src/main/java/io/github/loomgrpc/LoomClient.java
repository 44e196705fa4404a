package io.github.loomgrpc;

import io.github.loomgrpc.v1.CountTokensResponse;
import io.github.loomgrpc.v1.EmbedRequest;
import io.github.loomgrpc.v1.EmbedResponse;
import io.github.loomgrpc.v1.ListModelsRequest;
import io.github.loomgrpc.v1.ListModelsResponse;
import io.github.loomgrpc.v1.LlmEvent;
import io.github.loomgrpc.v1.LlmRequest;
import io.github.loomgrpc.v1.LlmResponse;
import io.github.loomgrpc.v1.LlmServiceGrpc;
import io.github.loomgrpc.v1.Model;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/**
 * Asks a loom-grpc server, over one connection that any number of threads may use at once. It opens
 * with the first call.
 *
 * <p>Every method that asks throws {@link LoomException} when the call fails, and {@link
 * CancellationException} when its thread is interrupted, which cancels the call up to the provider.
 * Those whose names end in {@code Async} return at once; cancelling what they return cancels the
 * call, and a failure completes it with {@link LoomException}.
 */
public final class LoomClient implements AutoCloseable {
  /** Where a server listens by default. */
  public static final String DEFAULT_TARGET = "127.0.0.1:50051";

  private static final int MAX_METADATA_BYTES = 64 << 10;
  private static final int PAGE = 1000;
  private static final String VERSION = version();

  private final String target;
  private final Duration timeout;
  private final ManagedChannel connection;
  private final Channel channel;

  private LoomClient(Builder builder) {
    target = builder.target;
    timeout = builder.timeout;
    ManagedChannelBuilder<?> options =
        Grpc.newChannelBuilder(target, builder.credentials)
            .userAgent("loom-grpc-java/" + VERSION)
            .maxInboundMessageSize(Caller.MAX_MESSAGE_BYTES)
            .maxInboundMetadataSize(MAX_METADATA_BYTES)
            // A model may think for minutes without a word: pings tell that from a dead connection.
            .keepAliveTime(30, TimeUnit.SECONDS)
            .keepAliveTimeout(10, TimeUnit.SECONDS);
    builder.options.accept(options);
    connection = options.build();
    Caller caller = new Caller(connection, builder.metadata, builder.connectTimeout);
    channel = ClientInterceptors.intercept(connection, caller);
  }

  /** Begins a client of the server at {@link #DEFAULT_TARGET}. */
  public static Builder builder() {
    return builder(DEFAULT_TARGET);
  }

  /** Begins a client of the server at a host and port, or another address that gRPC knows. */
  public static Builder builder(String target) {
    return new Builder(target);
  }

  /** Returns the whole answer to a request. */
  public LlmResponse complete(LlmRequest request) {
    return complete(request, CallSettings.NONE);
  }

  /** Returns the whole answer to a request. */
  public LlmResponse complete(LlmRequest request, CallSettings settings) {
    return ask(LlmServiceGrpc.getCompleteMethod(), request, settings);
  }

  /** Asks for the whole answer to a request. */
  public CompletableFuture<LlmResponse> completeAsync(LlmRequest request) {
    return completeAsync(request, CallSettings.NONE);
  }

  /** Asks for the whole answer to a request. */
  public CompletableFuture<LlmResponse> completeAsync(LlmRequest request, CallSettings settings) {
    return askAsync(LlmServiceGrpc.getCompleteMethod(), request, settings);
  }

  /**
   * Starts the same call and returns its events as they come; to be closed, as try-with-resources
   * does.
   */
  public LoomStream stream(LlmRequest request) {
    return stream(request, CallSettings.NONE);
  }

  /**
   * Starts the same call and returns its events as they come; to be closed, as try-with-resources
   * does.
   */
  public LoomStream stream(LlmRequest request, CallSettings settings) {
    EventCall call = new EventCall(streamCall(settings));
    call.start(request);
    return new LoomStream(call, target);
  }

  /**
   * Starts the same call, hands its events to a consumer as they come, one after the other, and
   * returns the whole answer to come. An exception of the consumer's cancels the call and completes
   * the future.
   */
  public CompletableFuture<LlmResponse> streamAsync(
      LlmRequest request, CallSettings settings, Consumer<LlmEvent> consumer) {
    return EventListener.start(streamCall(settings), request, target, consumer);
  }

  /**
   * Returns the number of prompt tokens of a request; {@code estimated} tells when the provider
   * could not count them.
   */
  public CountTokensResponse countTokens(LlmRequest request) {
    return countTokens(request, CallSettings.NONE);
  }

  /**
   * Returns the number of prompt tokens of a request; {@code estimated} tells when the provider
   * could not count them.
   */
  public CountTokensResponse countTokens(LlmRequest request, CallSettings settings) {
    return ask(LlmServiceGrpc.getCountTokensMethod(), request, settings);
  }

  /** Asks for the number of prompt tokens of a request. */
  public CompletableFuture<CountTokensResponse> countTokensAsync(
      LlmRequest request, CallSettings settings) {
    return askAsync(LlmServiceGrpc.getCountTokensMethod(), request, settings);
  }

  /** Returns a vector for each input of a request, in their order. */
  public EmbedResponse embed(EmbedRequest request) {
    return embed(request, CallSettings.NONE);
  }

  /** Returns a vector for each input of a request, in their order. */
  public EmbedResponse embed(EmbedRequest request, CallSettings settings) {
    return ask(LlmServiceGrpc.getEmbedMethod(), request, settings);
  }

  /** Asks for a vector for each input of a request. */
  public CompletableFuture<EmbedResponse> embedAsync(EmbedRequest request, CallSettings settings) {
    return askAsync(LlmServiceGrpc.getEmbedMethod(), request, settings);
  }

  /** Returns all models, ordered by provider and id. */
  public List<Model> listModels() {
    return listModels("", CallSettings.NONE);
  }

  /**
   * Returns all models of one provider, or of all for an empty name; the timeout is for each page.
   */
  public List<Model> listModels(String provider, CallSettings settings) {
    List<Model> models = new ArrayList<>();
    ListModelsRequest.Builder request =
        ListModelsRequest.newBuilder().setProvider(provider).setPageSize(PAGE);
    do {
      ListModelsResponse page =
          ask(LlmServiceGrpc.getListModelsMethod(), request.build(), settings);
      models.addAll(page.getModelsList());
      request.setPageToken(page.getNextPageToken());
    } while (!request.getPageToken().isEmpty());
    return models;
  }

  /** Returns where the server is. */
  public String target() {
    return target;
  }

  /**
   * Returns the connection, for stubs of whatever else is served there, such as {@code
   * AdminServiceGrpc}; the client's key and metadata go along unless the call has its own.
   */
  public Channel channel() {
    return channel;
  }

  /** Reads what a failed call of a stub on {@link #channel} means. */
  public LoomException exception(StatusRuntimeException failure) {
    Metadata trailers = Objects.requireNonNullElseGet(failure.getTrailers(), Metadata::new);
    return Failure.of(failure.getStatus(), trailers, target);
  }

  /** Closes the connection; calls under way fail. */
  @Override
  public void close() {
    connection.shutdownNow();
  }

  @Override
  public String toString() {
    return "LoomClient(" + target + ")";
  }

  private <Q, R> R ask(MethodDescriptor<Q, R> method, Q request, CallSettings settings) {
    try {
      return ClientCalls.blockingUnaryCall(channel(settings), method, options(settings), request);
    } catch (StatusRuntimeException failure) {
      if (failure.getStatus().getCause() instanceof InterruptedException) {
        throw LoomStream.interrupted();
      }
      throw exception(failure);
    }
  }

  private <Q, R> CompletableFuture<R> askAsync(
      MethodDescriptor<Q, R> method, Q request, CallSettings settings) {
    return Answer.of(
        channel(settings).newCall(method, options(settings)), request, this::exception);
  }

  private ClientCall<LlmRequest, LlmEvent> streamCall(CallSettings settings) {
    return channel(settings).newCall(LlmServiceGrpc.getStreamMethod(), options(settings));
  }

  private Channel channel(CallSettings settings) {
    if (settings.metadata().isEmpty()) {
      return channel;
    }
    Metadata headers = new Metadata();
    TextMetadata.addMissing(headers, settings.metadata());
    return ClientInterceptors.intercept(
        channel, MetadataUtils.newAttachHeadersInterceptor(headers));
  }

  private CallOptions options(CallSettings settings) {
    return settings
        .timeout()
        .or(() -> Optional.ofNullable(timeout))
        .map(TimeUnit.NANOSECONDS::convert)
        .map(it -> CallOptions.DEFAULT.withDeadlineAfter(it, TimeUnit.NANOSECONDS))
        .orElse(CallOptions.DEFAULT);
  }

  private static String version() {
    Properties properties = new Properties();
    try (InputStream file = LoomClient.class.getResourceAsStream("version.properties")) {
      properties.load(file);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return properties.getProperty("version");
  }

  /** The settings of a client to be. */
  public static final class Builder {
    private final String target;
    private final Map<String, String> metadata = new HashMap<>();
    private ChannelCredentials credentials = InsecureChannelCredentials.create();
    private Consumer<ManagedChannelBuilder<?>> options = it -> {};
    private Duration connectTimeout = Duration.ofSeconds(20);
    private Duration timeout;

    private Builder(String target) {
      this.target = target;
    }

    /**
     * Shows a key or token as {@code authorization: Bearer}, in the clear without TLS; throws
     * {@link IllegalArgumentException} for one that cannot be sent.
     */
    public Builder apiKey(String apiKey) {
      return metadata("authorization", TextMetadata.bearer(apiKey));
    }

    /** Uses TLS and trusts the authorities of the JVM. */
    public Builder tls() {
      return tls(TlsChannelCredentials.create());
    }

    /**
     * Uses TLS with other authorities or a client certificate, as {@link TlsChannelCredentials}
     * makes them.
     */
    public Builder tls(ChannelCredentials credentials) {
      this.credentials = credentials;
      return this;
    }

    /**
     * Limits how long a call may take, the provider's part included; without it a call waits as
     * long as the server does.
     */
    public Builder timeout(Duration timeout) {
      this.timeout = timeout;
      return this;
    }

    /** Limits how long a call waits for a connection; 20 seconds without it. */
    public Builder connectTimeout(Duration connectTimeout) {
      this.connectTimeout = connectTimeout;
      return this;
    }

    /**
     * Sends metadata with every call; throws {@link IllegalArgumentException} for what cannot be
     * sent.
     */
    public Builder metadata(String name, String value) {
      metadata.putAll(TextMetadata.checked(Map.of(name, value)));
      return this;
    }

    /** Changes options of the gRPC channel after the client has set its own. */
    public Builder channelOptions(Consumer<ManagedChannelBuilder<?>> options) {
      this.options = options;
      return this;
    }

    /** Makes the client; nothing is connected yet. */
    public LoomClient build() {
      return new LoomClient(this);
    }
  }
}
