package io.github.loomgrpc.conformance;

import com.google.gson.annotations.SerializedName;
import io.github.loomgrpc.CallSettings;
import io.github.loomgrpc.LoomClient;
import io.grpc.TlsChannelCredentials;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.Map;
import java.util.Optional;

/** A line of what the driver asks; see the README of clients/conformance. */
record Case(
    String name,
    String target,
    Tls tls,
    @SerializedName("api_key") String apiKey,
    Map<String, String> metadata,
    String method,
    String request,
    @SerializedName("timeout_ms") Long timeoutMs,
    @SerializedName("cancel_after_events") Integer cancelAfterEvents,
    @SerializedName("cancel_after_ms") Long cancelAfterMs) {
  record Tls(String ca, String cert, String key) {}

  /** What cases that can share a client have in common. */
  record Connection(String target, Tls tls, String apiKey) {
    LoomClient open() {
      LoomClient.Builder builder = LoomClient.builder(target);
      if (apiKey != null) {
        builder.apiKey(apiKey);
      }
      if (tls != null) {
        builder.tls(credentials(tls).build());
      }
      return builder.build();
    }

    private static TlsChannelCredentials.Builder credentials(Tls tls) {
      TlsChannelCredentials.Builder credentials = TlsChannelCredentials.newBuilder();
      try {
        credentials.trustManager(bytes(tls.ca));
        if (tls.cert != null) {
          credentials.keyManager(bytes(tls.cert), bytes(tls.key));
        }
      } catch (IOException e) {
        throw new IllegalArgumentException("tls: " + e.getMessage(), e);
      }
      return credentials;
    }

    private static InputStream bytes(String pem) {
      return new ByteArrayInputStream(pem.getBytes(StandardCharsets.US_ASCII));
    }
  }

  Connection connection() {
    return new Connection(target, tls, apiKey);
  }

  byte[] requestBytes() {
    return request == null ? new byte[0] : Base64.getDecoder().decode(request);
  }

  CallSettings settings() {
    return new CallSettings(
        Optional.ofNullable(timeoutMs).map(Duration::ofMillis),
        metadata == null ? Map.of() : metadata);
  }
}
