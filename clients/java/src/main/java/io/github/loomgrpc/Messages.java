package io.github.loomgrpc;

import com.google.protobuf.ByteString;
import io.github.loomgrpc.v1.Media;
import io.github.loomgrpc.v1.Message;
import io.github.loomgrpc.v1.Part;
import io.github.loomgrpc.v1.Role;
import io.github.loomgrpc.v1.ToolCall;
import io.github.loomgrpc.v1.ToolDefinition;
import java.util.List;

/** Short ways to write what a request has. */
public final class Messages {
  private Messages() {}

  /** Makes a message of the application's instructions. */
  public static Message system(String text) {
    return Message.newBuilder().setRole(Role.ROLE_SYSTEM).setContent(text).build();
  }

  /** Makes a message of the user's. */
  public static Message user(String text) {
    return Message.newBuilder().setRole(Role.ROLE_USER).setContent(text).build();
  }

  /** Makes a message of the user's of several parts. */
  public static Message user(Part... parts) {
    return Message.newBuilder().setRole(Role.ROLE_USER).addAllParts(List.of(parts)).build();
  }

  /** Makes a message of the model's; an answer's own {@code message} is one as it is. */
  public static Message assistant(String text) {
    return Message.newBuilder().setRole(Role.ROLE_ASSISTANT).setContent(text).build();
  }

  /** Makes the message that answers a tool call. */
  public static Message toolResult(ToolCall call, String content) {
    return toolResult(call, content, false);
  }

  /**
   * Makes the message that answers a tool call; {@code isError} when the tool failed and the
   * content says how.
   */
  public static Message toolResult(ToolCall call, String content, boolean isError) {
    return Message.newBuilder()
        .setRole(Role.ROLE_TOOL)
        .setContent(content)
        .setToolCallId(call.getId())
        .setName(call.getToolName())
        .setIsError(isError)
        .build();
  }

  /** Makes a tool that the model may call; the schema of its arguments is a JSON Schema as text. */
  public static ToolDefinition tool(String name, String description, String inputSchemaJson) {
    return ToolDefinition.newBuilder()
        .setName(name)
        .setDescription(description)
        .setInputSchemaJson(inputSchemaJson)
        .build();
  }

  /** Makes a part of text, beside others. */
  public static Part text(String text) {
    return Part.newBuilder().setText(text).build();
  }

  /** Makes a part of a picture at an address. */
  public static Part image(String url) {
    return Part.newBuilder().setImage(media(url)).build();
  }

  /** Makes a part of a picture; the media type is one such as {@code image/png}. */
  public static Part image(byte[] data, String mediaType) {
    return Part.newBuilder().setImage(media(data, mediaType)).build();
  }

  /** Makes a part of a document at an address. */
  public static Part document(String url) {
    return Part.newBuilder().setDocument(media(url)).build();
  }

  /** Makes a part of a document; the media type is one such as {@code application/pdf}. */
  public static Part document(byte[] data, String mediaType) {
    return Part.newBuilder().setDocument(media(data, mediaType)).build();
  }

  private static Media.Builder media(String url) {
    return Media.newBuilder().setUrl(url);
  }

  private static Media.Builder media(byte[] data, String mediaType) {
    return Media.newBuilder().setData(ByteString.copyFrom(data)).setMediaType(mediaType);
  }
}
