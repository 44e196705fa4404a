// What the tests have a page do. Every job gets a client and what it is asked, and returns something that JSON can hold.
// `tell` is the tests' own: they hear what is said to it while a job goes on.

import { LoomClient, LoomError } from "./loom-grpc-web.js";

const jobs = {
  async complete(loom, { question }) {
    let trailers;
    const answer = await loom.complete(question, { onTrailers: (all) => (trailers = all) });
    return { content: answer.message.content, model: answer.model, trailers };
  },

  async large(loom, { question, text }) {
    const prompt = text.repeat(250_000);
    const answer = await loom.complete({ ...question, prompt });
    const { length } = new TextEncoder().encode(answer.message.content);
    return { bytes: length, is_the_same: answer.message.content === prompt };
  },

  async others(loom, { question, inputs }) {
    const models = await loom.listModels("mock");
    const counted = await loom.countTokens(question);
    const embedded = await loom.embed({
      model: "mock/mock-embed",
      inputs: inputs.map((value) => ({ kind: { case: "text", value } })),
    });
    return {
      models: models.map(({ id }) => id),
      tokens: Number(counted.inputTokens),
      vectors: embedded.embeddings.map(({ values }) => values.length),
    };
  },

  async stream(loom, { question }) {
    const stream = loom.stream(question);
    const cases = [];
    let content = "";
    for await (const { event } of stream) {
      cases.push(event.case);
      content += event.case === "textDelta" ? event.value.content : "";
      tell(event.case);
    }
    return {
      cases,
      content,
      complete: stream.response.message.content,
      trailers: await stream.trailers(),
    };
  },

  async abort(loom, { question }) {
    const controller = new AbortController();
    const words = [];
    try {
      for await (const { event } of loom.stream(question, { signal: controller.signal })) {
        words.push(event.case);
        if (event.case === "textDelta") {
          controller.abort();
        }
      }
    } catch (error) {
      return { words, error: error.name };
    }
    return { words };
  },

  async leave(loom, { question }) {
    for await (const { event } of loom.stream(question)) {
      if (event.case === "textDelta") {
        return event.value.content;
      }
    }
  },
};

/** Does a job and returns what came of it, or what is known of the LoomError that it threw. */
export async function run(job, url, { options = {}, ...asked }) {
  try {
    return await jobs[job](new LoomClient(url, options), asked);
  } catch (error) {
    if (!(error instanceof LoomError)) {
      throw error;
    }
    const { reason, message, retryAfterMs, metadata, partial } = error;
    return { reason, message, retryAfterMs, metadata, partial: partial?.message?.content };
  }
}
