// MLflow's UI opens an experiment of its list on pages for language models, as a plain table. Here training comes
// first, until somebody switches, and a sweep's experiment opens on the view that its description links to.
(() => {
  const kind = "mlflow.workflowType_v1"; // where the UI keeps the switch
  if (localStorage.getItem(kind) === null) localStorage.setItem(kind, JSON.stringify("machine_learning"));
  const page = /^#\/experiments\/(\d+)(?:\/(?:runs|overview))?\/?(?:\?(.*))?$/;
  const ours = /[?&]viewStateShareKey=([\w.%~-]+)/;
  const opened = new Set(); // of these, only what the list links to is opened again: no page that a reader chose
  const open = async () => {
    const [, id, query] = location.hash.match(page) ?? [];
    if (id === undefined || (opened.has(id) && location.hash !== `#/experiments/${id}`)) return;
    opened.add(id);
    const asked = new URLSearchParams(query);
    if (["viewStateShareKey", "compareRunsMode"].some((name) => asked.has(name))) return;
    const answer = await fetch(`ajax-api/2.0/mlflow/experiments/get?experiment_id=${id}`);
    if (!answer.ok) return;
    const tags = (await answer.json()).experiment.tags ?? [];
    const view = tags.find((tag) => tag.key === "mlflow.note.content")?.value.match(ours)?.[1];
    if (view === undefined || location.hash.match(page)?.[1] !== id) return;
    const shown = `workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey=${view}`;
    location.replace(`#/experiments/${id}/runs?${shown}`);
  };
  for (const name of ["pushState", "replaceState"]) {
    const inner = history[name];
    history[name] = function (...words) {
      inner.apply(this, words);
      open();
    };
  }
  addEventListener("hashchange", open);
  open();
})();
