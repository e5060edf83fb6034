// Reads server-sent events out of the response of a fetch(), which, unlike an
// EventSource, can be a POST and never connects again by itself.

const parsed = (block) => {
  const fields = block.split("\n").map((line) => line.split(/: ?(.*)/s));
  const { event, data } = Object.fromEntries(fields);
  return event && { name: event, data: JSON.parse(data) };
};

export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop(); // not all of it has come
    yield* blocks.map(parsed).filter(Boolean); // a heartbeat is no event
  }
}
