/** Carries out the cases of the conformance table: a JSON object a line in, one out. */

import { createInterface } from "node:readline";
import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { type CallOptions, LoomClient, LoomError, type LoomOptions } from "loom-grpc";
import {
  CountTokensResponseSchema,
  EmbedRequestSchema,
  EmbedResponseSchema,
  ListModelsResponseSchema,
  LlmEventSchema,
  LlmRequestSchema,
  LlmResponseSchema,
} from "loom-grpc/v1";

interface Case {
  name: string;
  target: string;
  tls?: { ca: string; cert?: string; key?: string } | null;
  api_key?: string | null;
  metadata?: Record<string, string>;
  method: "complete" | "stream" | "count_tokens" | "list_models" | "embed";
  request: string;
  timeout_ms?: number | null;
  cancel_after_events?: number | null;
  cancel_after_ms?: number | null;
}

interface Outcome {
  response: string | null;
  events?: string[];
  error: object | null;
  cancelled: boolean;
  trailers: Record<string, string>;
}

const clients = new Map<string, LoomClient>();

type Method = (client: LoomClient, test: Case, options: CallOptions, outcome: Outcome) => Promise<void>;

const METHODS: Readonly<Record<Case["method"], Method>> = {
  async complete(client, test, options, outcome) {
    const answer = await client.complete(decoded(LlmRequestSchema, test.request), { ...options, ...noting(outcome) });
    outcome.response = encoded(LlmResponseSchema, answer);
  },
  async count_tokens(client, test, options, outcome) {
    const answer = await client.countTokens(decoded(LlmRequestSchema, test.request), {
      ...options,
      ...noting(outcome),
    });
    outcome.response = encoded(CountTokensResponseSchema, answer);
  },
  async embed(client, test, options, outcome) {
    const answer = await client.embed(decoded(EmbedRequestSchema, test.request), { ...options, ...noting(outcome) });
    outcome.response = encoded(EmbedResponseSchema, answer);
  },
  async list_models(client, _, options, outcome) {
    const models = await client.listModels("", { ...options, ...noting(outcome) });
    outcome.response = encoded(ListModelsResponseSchema, create(ListModelsResponseSchema, { models }));
  },
  async stream(client, test, options, outcome) {
    const events: string[] = [];
    outcome.events = events;
    const stream = client.stream(decoded(LlmRequestSchema, test.request), options);
    try {
      for await (const event of stream) {
        events.push(encoded(LlmEventSchema, event));
        if (events.length === test.cancel_after_events) {
          outcome.cancelled = true;
          break;
        }
      }
    } finally {
      outcome.trailers = await stream.trailers();
    }
    if (stream.response !== undefined) {
      outcome.response = encoded(LlmResponseSchema, stream.response);
    }
  },
};

async function carryOut(test: Case): Promise<object> {
  const begun = performance.now();
  try {
    const outcome = await ask(clientOf(test), test);
    return { name: test.name, ...outcome, elapsed_ms: performance.now() - begun };
  } catch (error) {
    return { name: test.name, failed: String(error) };
  }
}

function clientOf({ target, tls, api_key, metadata }: Case): LoomClient {
  const name = JSON.stringify([target, tls, api_key, metadata]);
  const options: LoomOptions = { tls: tls ?? false, apiKey: api_key ?? undefined, metadata };
  const client = clients.get(name) ?? new LoomClient(target, options);
  clients.set(name, client);
  return client;
}

async function ask(client: LoomClient, test: Case): Promise<Outcome> {
  const outcome: Outcome = { response: null, error: null, cancelled: false, trailers: {} };
  const cancelling = new AbortController();
  const timer = test.cancel_after_ms == null ? undefined : setTimeout(() => cancelling.abort(), test.cancel_after_ms);
  const options: CallOptions = { timeoutMs: test.timeout_ms ?? undefined, signal: cancelling.signal };
  try {
    await METHODS[test.method](client, test, options, outcome);
  } catch (error) {
    outcome.cancelled = cancelling.signal.aborted && error === cancelling.signal.reason;
    if (!outcome.cancelled) {
      outcome.error = described(error);
    }
  } finally {
    clearTimeout(timer);
  }
  return outcome;
}

function noting(outcome: Outcome): CallOptions {
  return {
    onTrailers: (trailers) => {
      outcome.trailers = trailers;
    },
  };
}

function described(error: unknown): object {
  if (!(error instanceof LoomError)) {
    throw error;
  }
  return {
    reason: error.reason,
    message: error.message,
    retry_after_ms: error.retryAfterMs ?? null,
    metadata: error.metadata,
    partial: error.partial === undefined ? null : encoded(LlmResponseSchema, error.partial),
  };
}

function decoded<D extends DescMessage>(schema: D, text: string): MessageShape<D> {
  return fromBinary(schema, Buffer.from(text, "base64"));
}

function encoded<D extends DescMessage>(schema: D, message: MessageShape<D>): string {
  return Buffer.from(toBinary(schema, message)).toString("base64");
}

for await (const line of createInterface(process.stdin)) {
  process.stdout.write(`${JSON.stringify(await carryOut(JSON.parse(line) as Case))}\n`);
}
for (const client of clients.values()) {
  client.close();
}
