// Reads server-sent events out of the response of a fetch(), which, unlike an
// EventSource, can be a POST and never connects again by itself.

const parsed = (block) => {
  const fields = block.split("\n").map((line) => line.split(/: ?(.*)/s));
  const { event, data } = Object.fromEntries(fields);
  return event && { name: event, data: JSON.parse(data) };
};

// An error page is no answer. Its status does not tell: a 503 may bring events.
export const checked = (response, type) => {
  if (response.headers.get("Content-Type")?.startsWith(type)) return response;
  throw new Error(`The server answered with HTTP ${response.status}.`);
};

export async function* events(response) {
  const { body } = checked(response, "text/event-stream");
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop(); // not all of it has come
    yield* blocks.map(parsed).filter(Boolean); // a heartbeat is no event
  }
}
