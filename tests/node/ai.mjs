import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogle } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, isStepCount, jsonSchema, streamText } from "ai";

import { doJobs } from "./job.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

const KEY = { apiKey: "sk-caller" };
const MODELS = {
  openai: (job) => createOpenAI({ ...KEY, baseURL: job.url }).chat(job.model),
  responses: (job) => createOpenAI({ ...KEY, baseURL: job.url }).responses(job.model),
  compatible: (job) =>
    createOpenAICompatible({ ...KEY, name: "compatible", baseURL: job.url, includeUsage: true })(job.model),
  anthropic: (job) => createAnthropic({ ...KEY, baseURL: job.url })(job.model),
  google: (job) => createGoogle({ ...KEY, baseURL: job.url })(job.model),
};

function asked(job, signal) {
  steady();
  return { ...job.request, model: MODELS[job.provider](job), maxRetries: 0, abortSignal: signal };
}

// The client makes ids up where an answer has none. Each job gets the same ones, so that two answers that are equal look so.
function steady() {
  let last = 1;
  Math.random = () => (last = (last * 48271) % 2147483647) / 2147483647;
}

// Leaves out of a part of a stream what is not the answer's meaning: when and how fast it came, the head of HTTP, what was asked; of an
// error, where it came from.
function told({ performance, request, response, error, ...part }) {
  if (response) {
    const { timestamp, headers, ...meant } = response;
    part.response = meant;
  }
  if (error) part.error = error.name ?? error;
  return part;
}

async function text({ see, signal, ...job }) {
  if (job.stream) {
    for await (const part of stream(asked(job, signal))) see(told(part));
    signal.throwIfAborted();
    return;
  }
  const { content, finishReason, rawFinishReason, usage, warnings, providerMetadata, response } = await generateText(
    asked(job, signal),
  );
  const { id, modelId, body, messages } = response;
  see({ content, finishReason, rawFinishReason, usage, warnings, providerMetadata, id, modelId, body, messages });
}

// Yields the parts of a stream, and raises the error that it ends in: the client only tells of it in passing.
async function* stream(request) {
  let failure;
  const onError = ({ error }) => (failure = error);
  const answer = streamText({ ...request, include: { rawChunks: true }, onError });
  yield* answer.stream;
  if (failure) throw failure;
}

// The client calls the tools itself and asks again, until there are no more calls.
async function tools({ see, signal, ...job }) {
  const named = Object.entries(job.tools).map(([name, schema]) => {
    const execute = (given) => {
      see({ called: name, given });
      return job.results[name];
    };
    return [name, { description: name, inputSchema: jsonSchema(schema), execute }];
  });
  const request = { ...asked(job, signal), tools: Object.fromEntries(named), stopWhen: isStepCount(5) };
  if (!job.stream) {
    see((await generateText(request)).text);
    return;
  }
  const said = [];
  for await (const part of stream(request)) if (part.type === "text-delta") said.push(part.text);
  see(said.join(""));
}

async function embeddings({ see, signal, ...job }) {
  const model = createOpenAI({ ...KEY, baseURL: job.url }).embedding(job.model);
  const { embeddings, usage } = await embedMany({ model, values: job.request.values, maxRetries: 0, abortSignal: signal });
  see({ embeddings, usage });
}

doJobs({ text, tools, embeddings });
