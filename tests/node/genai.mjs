import { GoogleGenAI } from "@google/genai";

import { doJobs } from "./job.mjs";

function models(job) {
  return new GoogleGenAI({ apiKey: "sk-caller", httpOptions: { baseUrl: job.url, retryOptions: { attempts: 1 } } }).models;
}

function asked(job, signal) {
  return { ...job.request, config: { ...job.request.config, abortSignal: signal } };
}

// What HTTP said of an answer, its date for one, is none of its meaning.
function told({ sdkHttpResponse, ...response }) {
  return response;
}

async function content({ see, signal, ...job }) {
  if (!job.stream) {
    see(told(await models(job).generateContent(asked(job, signal))));
    return;
  }
  for await (const chunk of await models(job).generateContentStream(asked(job, signal))) see(told(chunk));
}

async function turn(job, signal, contents) {
  const request = asked({ request: { ...job.request, contents } }, signal);
  if (!job.stream) {
    const { candidates } = await models(job).generateContent(request);
    return candidates[0].content.parts;
  }
  const parts = [];
  for await (const chunk of await models(job).generateContentStream(request)) {
    parts.push(...(chunk.candidates?.[0]?.content?.parts ?? []));
  }
  return parts;
}

async function tools({ see, signal, ...job }) {
  const contents = [...job.request.contents];
  for (;;) {
    const parts = await turn(job, signal, contents);
    contents.push({ role: "model", parts });
    const calls = parts.flatMap((part) => part.functionCall ?? []);
    if (calls.length === 0) {
      see(parts.map((part) => (part.thought ? "" : part.text ?? "")).join(""));
      return;
    }
    for (const { name, args } of calls) see({ called: name, given: args });
    const responses = calls.map(({ id, name }) => ({
      functionResponse: { id, name, response: { output: job.results[name] } },
    }));
    contents.push({ role: "user", parts: responses });
  }
}

async function count({ see, signal, ...job }) {
  see(told(await models(job).countTokens(asked(job, signal))));
}

async function embeddings({ see, signal, ...job }) {
  see(told(await models(job).embedContent(asked(job, signal))));
}

async function list({ see, ...job }) {
  for await (const model of await models(job).list()) see(model.name);
}

doJobs({ content, tools, count, embeddings, list });
