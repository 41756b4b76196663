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
  let answer: Response;
  try {
    answer = await fetch(address, {
      headers: { Accept: "application/json" },
      credentials: "same-origin",
      ...(signal ? { signal } : {}),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, "", TEXT.unreachable, "");
  }
  if (answer.ok) return (await answer.json()) as T;
  if (answer.status === 401) throw new Problem(401, "", TEXT.signInAgain, "");
  const problem = (await answer.json().catch(() => ({}))) as Record<string, unknown>;
  throw new Problem(
    answer.status,
    String(problem.code ?? answer.status),
    String(problem.detail ?? problem.message ?? answer.statusText),
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
