import Anthropic from "@anthropic-ai/sdk";

import { doJobs } from "./job.mjs";

function client(job) {
  return new Anthropic({ baseURL: job.url, apiKey: "sk-caller", maxRetries: 0 });
}

async function messages({ see, signal, ...job }) {
  const messages = client(job).messages;
  if (!job.stream) {
    see(await messages.create(job.request, { signal }));
    return;
  }
  for await (const event of await messages.create({ ...job.request, stream: true }, { signal })) see(event);
  const stream = messages.stream(job.request, { signal });
  for await (const event of stream) see(event);
  see(await stream.finalMessage());
}

// The client calls the tools itself and asks again, until there are no more calls.
async function tools({ see, signal, ...job }) {
  const tools = job.request.tools.map((tool) => ({
    ...tool,
    parse: (given) => given,
    run: (given) => {
      see({ called: tool.name, given });
      return job.results[tool.name];
    },
  }));
  const runner = client(job).beta.messages.toolRunner({ ...job.request, tools, stream: job.stream }, { signal });
  const last = await runner.runUntilDone();
  see(last.content.map((block) => block.text ?? "").join(""));
}

async function count({ see, signal, ...job }) {
  see(await client(job).messages.countTokens(job.request, { signal }));
}

async function list({ see, signal, ...job }) {
  for await (const model of client(job).models.list({}, { signal })) see(model.id);
}

doJobs({ messages, tools, count, list });
