package io.github.loomgrpc;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.google.protobuf.TextFormat;
import io.github.loomgrpc.v1.Message;
import io.github.loomgrpc.v1.ToolCall;
import io.github.loomgrpc.v1.ToolDefinition;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

class MessagesTest {
  private static final byte[] BYTES = "bytes".getBytes(StandardCharsets.US_ASCII);

  @Test
  void textsBecomeMessagesOfTheirRoles() throws Exception {
    assertEquals(message("role: ROLE_SYSTEM content: 'Be brief.'"), Messages.system("Be brief."));
    assertEquals(message("role: ROLE_USER content: 'Hello!'"), Messages.user("Hello!"));
    assertEquals(message("role: ROLE_ASSISTANT content: 'Yes.'"), Messages.assistant("Yes."));
  }

  @Test
  void partsBecomeAMessageInTheirOrder() throws Exception {
    assertEquals(
        message(
            """
            role: ROLE_USER
            parts { text: 'Look:' }
            parts { image { url: 'https://example.com/a.png' } }
            parts { image { data: 'bytes' media_type: 'image/png' } }
            parts { document { url: 'https://example.com/a.pdf' } }
            parts { document { data: 'bytes' media_type: 'application/pdf' } }
            """),
        Messages.user(
            Messages.text("Look:"),
            Messages.image("https://example.com/a.png"),
            Messages.image(BYTES, "image/png"),
            Messages.document("https://example.com/a.pdf"),
            Messages.document(BYTES, "application/pdf")));
  }

  @Test
  void aToolAndItsResultAreNamed() throws Exception {
    ToolCall call = ToolCall.newBuilder().setId("c1").setToolName("weather").build();

    assertEquals(
        TextFormat.parse(
            "name: 'weather' description: 'Looks it up' input_schema_json: '{}'",
            ToolDefinition.class),
        Messages.tool("weather", "Looks it up", "{}"));
    assertEquals(
        message("role: ROLE_TOOL content: '3 C' tool_call_id: 'c1' name: 'weather'"),
        Messages.toolResult(call, "3 C"));
    assertEquals(
        message("role: ROLE_TOOL content: 'no' tool_call_id: 'c1' name: 'weather' is_error: true"),
        Messages.toolResult(call, "no", true));
  }

  private static Message message(String text) throws TextFormat.ParseException {
    return TextFormat.parse(text, Message.class);
  }
}
