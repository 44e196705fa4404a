// Does jobs with a client: each line of the input is a job as JSON, each line of the output what came of one. The line `abort` ends the
// last job as a user does who gives up.

import { createInterface } from "node:readline";

const LIMIT_MS = 30_000;

/**
 * Answers the jobs on standard input as they come.
 *
 * A job names its `kind`, one of the functions in `kinds`. That gets the job, which also holds the signal of an AbortController and
 * `see`, which takes down everything that the client hands out; the user of a job with `gives_up` aborts it on seeing that text.
 */
export function doJobs(kinds) {
  let controller;
  const lines = createInterface({ input: process.stdin });
  lines.on("line", async (line) => {
    if (line === "abort") {
      controller.abort();
      return;
    }
    controller = new AbortController();
    const done = await doJob(kinds, JSON.parse(line), controller);
    process.stdout.write(`${JSON.stringify(done)}\n`);
  });
  lines.on("close", () => process.exit()); // whatever a client still keeps open
}

async function doJob(kinds, job, controller) {
  const seen = [];
  const see = (value) => {
    const text = JSON.stringify(value ?? null); // as it is now: clients go on to change what they have handed out
    seen.push(JSON.parse(text));
    if (job.gives_up && text.includes(job.gives_up)) controller.abort();
  };
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error("The job takes too long."));
      controller.abort();
    }, LIMIT_MS);
  });
  try {
    await Promise.race([kinds[job.kind]({ ...job, see, signal: controller.signal }), late]);
    return { id: job.id, seen, error: null };
  } catch (error) {
    return { id: job.id, seen, error: describe(error) };
  } finally {
    clearTimeout(timer);
  }
}

// Errors of all clients have some of these.
function describe(error) {
  return {
    class: error.constructor.name,
    name: error.name,
    message: String(error.message),
    status: error.status ?? error.statusCode ?? null,
    code: error.code ?? null,
    type: error.type ?? null,
    param: error.param ?? null,
    body: error.error ?? error.responseBody ?? null,
    retryable: error.isRetryable ?? null,
  };
}
