import OpenAI from "openai";

import { doJobs } from "./job.mjs";

function client(job) {
  return new OpenAI({ baseURL: job.url, apiKey: "sk-caller", maxRetries: 0 });
}

async function chat({ see, signal, ...job }) {
  const completions = client(job).chat.completions;
  if (!job.stream) {
    see(await completions.create(job.request, { signal }));
    return;
  }
  const asked = { ...job.request, stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await completions.create(asked, { signal })) see(chunk);
  const runner = completions.stream(asked, { signal });
  for await (const chunk of runner) see(chunk);
  see(await runner.finalChatCompletion());
}

async function responses({ see, signal, ...job }) {
  const responses = client(job).responses;
  if (!job.stream) {
    see(await responses.create(job.request, { signal }));
    return;
  }
  for await (const event of await responses.create({ ...job.request, stream: true }, { signal })) see(event);
  const stream = responses.stream(job.request, { signal });
  for await (const event of stream) see(event);
  see(await stream.finalResponse());
}

// The client calls the tools itself and asks again, until there are no more calls.
async function chatTools({ see, signal, ...job }) {
  const tools = job.request.tools.map((tool) => ({
    ...tool,
    function: {
      ...tool.function,
      parse: JSON.parse,
      function: (given) => {
        see({ called: tool.function.name, given });
        return job.results[tool.function.name];
      },
    },
  }));
  const runner = client(job).chat.completions.runTools({ ...job.request, tools, stream: job.stream }, { signal });
  see(await runner.finalContent());
}

async function responsesTools({ see, signal, ...job }) {
  const responses = client(job).responses;
  const input = [...job.request.input];
  for (;;) {
    const asked = { ...job.request, input };
    const answer = job.stream
      ? await responses.stream(asked, { signal }).finalResponse()
      : await responses.create(asked, { signal });
    input.push(...answer.output);
    const calls = answer.output.filter((item) => item.type === "function_call");
    if (calls.length === 0) {
      see(answer.output_text);
      return;
    }
    for (const call of calls) {
      see({ called: call.name, given: JSON.parse(call.arguments) });
      input.push({ type: "function_call_output", call_id: call.call_id, output: job.results[call.name] });
    }
  }
}

async function embeddings({ see, signal, ...job }) {
  see(await client(job).embeddings.create(job.request, { signal }));
}

async function list({ see, signal, ...job }) {
  for await (const model of client(job).models.list({ signal })) see(model.id);
}

doJobs({ chat, responses, chat_tools: chatTools, responses_tools: responsesTools, embeddings, list });
