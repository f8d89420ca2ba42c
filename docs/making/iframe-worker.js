/* The search of the site runs in a worker, and a page that was opened as a file may start none.
   There the worker's script runs in a hidden frame, and messages go through the windows. */
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc =
        '<script>postMessage = data => parent.postMessage({ofWorker: data}, "*")<\/script>' +
        `<script src="${url}"><\/script>`;
      this.ready = new Promise(done => frame.addEventListener("load", done, { once: true }));
      this.frame = frame;
      window.addEventListener("message", event => {
        if (event.source === frame.contentWindow && "ofWorker" in event.data) {
          const message = new MessageEvent("message", { data: event.data.ofWorker });
          if (this.onmessage) this.onmessage(message);
          this.dispatchEvent(message);
        }
      });
      document.body.append(frame);
    }
    postMessage(data) {
      // the frame's own postMessage is the worker's way out
      const message = new MessageEvent("message", { data });
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(message));
    }
    terminate() {
      this.frame.remove();
    }
  };
  window.Worker = window.IFrameWorker;
}
