// Live news from the simulator: Server-Sent Events that come back by themselves after a break.

const RETRY_MS = 2000;

// Calls onNews(news) for each event, onLink(isUp) when the line comes and goes. Whoever listens
// must refetch when the line comes back, since news may have been missed meanwhile.
export function listen(onNews, onLink) {
  const source = new EventSource("/sim/stream");
  source.addEventListener("open", () => onLink(true));
  source.addEventListener("message", (event) => {
    const news = parse(event.data);
    if (news) onNews(news);
  });
  source.addEventListener("error", () => {
    onLink(false);
    // The browser retries on its own unless the server answered with an error page.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen(onNews, onLink), RETRY_MS);
  });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
