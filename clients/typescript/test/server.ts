/** The real server, as a process of its own. */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const PROGRAM =
  process.env["LOOM_TEST_PROGRAM"] ?? fileURLToPath(new URL("../../../../.venv/bin/loom-grpc", import.meta.url));

/** A server that answers with the mock provider. */
export class Server {
  readonly process: ChildProcess;
  readonly target: string;
  readonly httpUrl: string;
  readonly folder: string;

  constructor(process: ChildProcess, banner: string, folder: string) {
    this.process = process;
    this.target = fact(banner, "gRPC");
    this.httpUrl = fact(banner, "HTTP");
    this.folder = folder;
  }

  /** Ends the server, gently or by `SIGKILL`, and waits for its end. */
  async stop(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      this.process.kill(signal);
      await once(this.process, "exit");
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Starts a server and waits until it serves; settings are environment variables such as `LOOM_ADMIN__API_KEY`. */
export async function serve(settings: Record<string, string> = {}, target = "127.0.0.1:0"): Promise<Server> {
  const folder = mkdtempSync(join(tmpdir(), "loom-grpc-"));
  const addresses = ["--grpc-address", target, "--http-address", "127.0.0.1:0"];
  const child = spawn(PROGRAM, ["serve", ...addresses], {
    cwd: folder,
    env: { PATH: process.env["PATH"], HOME: folder, LOOM_PROVIDERS__MOCK__TIMEOUTS__IDLE_S: "60", ...settings },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  let banner = "";
  for await (const line of createInterface(child.stdout)) {
    banner += `${line}\n`;
    if (line.includes(" chat ")) {
      return new Server(child, banner, folder);
    }
  }
  throw new Error(`the server did not start: ${errors}`);
}

/** A certificate for 127.0.0.1 and localhost, which callers may show too, its key, and the authority that made it. */
export interface Certificate {
  folder: string;
  ca: string;
  cert: string;
  key: string;
}

/** Makes a new authority and a certificate, with the program that the server's own tests have for that. */
export function makeCertificate(): Certificate {
  const folder = mkdtempSync(join(tmpdir(), "loom-grpc-"));
  const names = ["-i", "localhost", "127.0.0.1"];
  execFileSync(join(dirname(PROGRAM), "python"), ["-m", "trustme", "-q", "-d", folder, ...names]);
  const read = (name: string) => readFileSync(join(folder, name), "utf8");
  return { folder, ca: read("client.pem"), cert: read("server.pem"), key: read("server.key") };
}

/** Returns an address of this machine at which nobody listens; below those that the system gives to connections (Linux: from 32768). */
export async function freeTarget(): Promise<string> {
  while (true) {
    const port = randomInt(12_000, 32_000);
    const server = createServer().listen(port, "127.0.0.1");
    try {
      await once(server, "listening");
    } catch {
      continue; // it is taken
    }
    server.close();
    await once(server, "close");
    return `127.0.0.1:${port}`;
  }
}

function fact(banner: string, name: string): string {
  const found = new RegExp(`^ {2}${name} +(\\S+)`, "m").exec(banner)?.[1];
  if (found === undefined) {
    throw new Error(`no ${name} in: ${banner}`);
  }
  return found;
}
