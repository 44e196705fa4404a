/** A chat at the terminal: streams each answer and keeps the conversation. Ctrl-C stops an answer, and at the prompt the program. */

import { createInterface } from "node:readline/promises";
import { parseArgs } from "node:util";
import { LoomClient, LoomError, type Message, user } from "loom-grpc";

const { loom, model, provider } = begin();
const terminal = createInterface({ input: process.stdin, output: process.stdout, prompt: "> " });
const messages: Message[] = [];
let answering: AbortController | undefined;

// Where the terminal reads single keys it tells of Ctrl-C itself, else the system does.
for (const source of [terminal, process]) {
  source.on("SIGINT", () => (answering ? answering.abort() : terminal.close()));
}
terminal.prompt();
for await (const line of terminal) {
  if (line.trim() !== "") {
    answering = new AbortController();
    await answer(line, answering.signal);
    answering = undefined;
  }
  terminal.prompt();
}
loom.close();

/** Reads the command line; what is wrong with it, with the address or with the key ends the program with a line. */
function begin(): { loom: LoomClient; model: string; provider: string } {
  try {
    const { values } = parseArgs({
      options: {
        target: { type: "string", default: "127.0.0.1:50051" },
        model: { type: "string", default: "" },
        provider: { type: "string", default: "" },
        tls: { type: "boolean", default: false },
      },
    });
    const { target, model, provider, tls } = values;
    return { loom: new LoomClient(target, { apiKey: process.env["LOOM_API_KEY"] || undefined, tls }), model, provider };
  } catch (error) {
    if (!(error instanceof TypeError)) {
      throw error;
    }
    console.error(error.message);
    process.exit(2);
  }
}

/** Shows the answer to a line as it comes; what was asked in vain is forgotten. */
async function answer(line: string, signal: AbortSignal): Promise<void> {
  const question = user(line);
  const stream = loom.stream({ model, provider, messages: [...messages, question] }, { signal });
  try {
    for await (const { event } of stream) {
      if (event.case === "textDelta") {
        process.stdout.write(event.value.content);
      }
    }
    console.log();
    if (stream.response?.message) {
      messages.push(question, stream.response.message);
    }
  } catch (error) {
    if (!signal.aborted && !(error instanceof LoomError)) {
      throw error;
    }
    console.log(error instanceof LoomError ? `\n${error.reason}: ${error.message}` : " (stopped)");
  }
}
