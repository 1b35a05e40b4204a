/** The server's API. Paths are relative, so that the page also works behind a proxy's prefix. */

/** What the server, or the way to it, refused. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Speaks to the server; `key()` is the API key, or nothing. */
export class Api {
  constructor(key) {
    this.key = key;
  }

  /** List the models; throws an ApiError. */
  async models() {
    const answer = await this.fetch("../v1/models");
    return (await answer.json()).data;
  }

  /** Yield the chunks of a streamed chat; throws an ApiError, or an AbortError when `signal` says so. */
  async *chat(body, signal) {
    const answer = await this.fetch("../v1/chat/completions", {
      method: "POST",
      body: JSON.stringify({ ...body, stream: true }),
      signal,
    });
    for await (const text of events(answer.body)) {
      if (text === "[DONE]") return;
      const chunk = JSON.parse(text);
      if (chunk.error) throw new ApiError(500, chunk.error.message);
      yield chunk;
    }
    throw new ApiError(0, "The connection ended before the answer did.");
  }

  async fetch(path, options = {}) {
    const headers = { "Content-Type": "application/json" };
    if (this.key()) headers.Authorization = `Bearer ${this.key()}`;
    const answer = await fetch(path, { ...options, headers }).catch((error) => {
      throw error.name === "AbortError" ? error : new ApiError(0, "The server does not answer. Is it running?");
    });
    if (!answer.ok) throw new ApiError(answer.status, await complaint(answer));
    return answer;
  }
}

/** The server's own words for what went wrong. */
async function complaint(answer) {
  const text = await answer.text();
  try {
    const value = JSON.parse(text);
    return value.error?.message ?? value.message ?? text;
  } catch {
    return text || `The server answered ${answer.status} ${answer.statusText}.`;
  }
}

/** Yield the data of each server-sent event; comments and other fields are skipped. */
export async function* events(stream) {
  let data = [];
  for await (const line of lines(stream)) {
    if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
    if (line || !data.length) continue;
    yield data.join("\n");
    data = [];
  }
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(lost);
      if (done) return;
      const found = (rest + value).split(/\r?\n/);
      rest = found.pop();
      yield* found;
    }
  } finally {
    reader.cancel().catch(() => {}); // of a stream that is broken already
  }
}

function lost(error) {
  throw error.name === "AbortError" ? error : new ApiError(0, "The connection to the server was lost.");
}
