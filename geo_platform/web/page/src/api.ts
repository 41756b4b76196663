/** Ask the server, and turn its problem documents into errors. */

import { TEXT } from "./text";

/** An answer that is not the wanted one: the code, sentence and remedy of the problem document. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly sentence: string,
    readonly remedy: string,
  ) {
    super(TEXT.failed(code, sentence, remedy));
  }
}

/** Return the JSON of an address of this server. Throws Problem. */
export async function getJson<T>(address: string, signal?: AbortSignal): Promise<T> {
  return asked<T>(address, signal ? { signal } : {});
}

/** Send JSON and return the JSON of the answer. Throws Problem. */
export async function sendJson<T>(address: string, body: unknown): Promise<T> {
  return asked<T>(address, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "Content-Type": "application/json" },
  });
}

/** Send a file, and tell how many bytes are sent. Throws Problem. */
export function sendFile(
  address: string,
  file: File,
  headers: Record<string, string>,
  sent: (bytes: number) => void,
): Promise<void> {
  // Only XMLHttpRequest tells the progress of an upload.
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", address);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => sent(event.loaded));
    request.addEventListener("error", () => reject(new Problem(0, "", TEXT.unreachable, "")));
    request.addEventListener("load", () => {
      if (request.status < 300) resolve();
      else reject(problemOf(request.status, request.responseText, request.statusText));
    });
    request.send(file);
  });
}

async function asked<T>(address: string, request: RequestInit): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(address, {
      ...request,
      headers: { Accept: "application/json", ...request.headers },
      credentials: "same-origin",
    });
  } catch (error) {
    if (request.signal?.aborted) throw error;
    throw new Problem(0, "", TEXT.unreachable, "");
  }
  if (answer.ok) return (await answer.json()) as T;
  throw problemOf(answer.status, await answer.text(), answer.statusText);
}

function problemOf(status: number, text: string, otherwise: string): Problem {
  if (status === 401) return new Problem(401, "", TEXT.signInAgain, "");
  let problem: Record<string, unknown> = {};
  try {
    problem = JSON.parse(text) as Record<string, unknown>;
  } catch {
    // A proxy answered, not the platform.
  }
  return new Problem(
    status,
    String(problem.code ?? status),
    String(problem.detail ?? problem.message ?? otherwise),
    String(problem.remedy ?? ""),
  );
}

/** Return an address with parameters; those that are undefined or empty are left out. */
export function withParameters(
  address: string,
  parameters: Record<string, string | number | undefined>,
): string {
  const url = new URL(address, location.origin);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== "") url.searchParams.set(name, String(value));
  }
  return url.toString();
}
