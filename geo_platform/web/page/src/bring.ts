/** Bring files: upload them, submit a job for each, follow it, and name the item that it publishes. */

import { getJson, Problem, sendFile, sendJson } from "./api";
import { element, fill } from "./elements";
import { TEXT } from "./text";

type Kind = "raster" | "vector";
type Options = Record<string, string>;

interface Offer {
  upload_id: string;
  url: string;
  headers: Record<string, string>;
  submit: { container_name: string; blob_name: string };
}

interface Submitted {
  job_id: string;
  status: string;
}

interface JobStatus {
  status: string;
  resultData: { collection?: string; item_id?: string; items?: { collection: string; item_id: string }[] } | null;
  errorDetails: { code: string; message: string; remedy: string } | null;
}

const JOBS: Record<Kind, string> = { raster: "process_raster", vector: "ingest_vector" };
const RASTER_NAMES = /\.(tiff?|jp2|j2k|png|jpe?g|webp|vrt|asc|grd|dem|hgt|img|nc|grib2?|bil|bip|bsq)(\.zip)?$/i;
// Parts of a file that are not its main one.
const SIDECARS = /\.(dbf|shx|prj|cpg|qix|sbn|sbx|qmd|tfw|tifw|tfwx|wld|jgw|pgw|j2w|ovr|msk|aux\.xml|shp\.xml)$/i;
/** Without an event for so long, Dagster may not be running. */
const SILENT_MS = 10_000;
const EVENTS = ["RUN_QUEUED", "RUN_STARTING", "RUN_STARTED", "STAGE_START", "STAGE_PROGRESS", "STAGE_DONE", "STAGE_FAILED"];
/** The parameters that people set after a refusal, for each kind. */
const PARAMETERS: Record<Kind, string[]> = {
  raster: ["input_crs", "target_crs", "nodata", "archive_member"],
  vector: [
    "input_crs",
    "target_crs",
    "layer_name",
    "mixed_geometry",
    "lat_name",
    "lon_name",
    "encoding",
    "archive_member",
  ],
};

export class BroughtFiles {
  private readonly lines = element("ul", { class: "brought" });

  constructor(
    place: HTMLElement,
    private readonly published: (collection: string, id: string) => void,
  ) {
    const choice = element("input", { type: "file", multiple: true, hidden: true, "aria-label": TEXT.bring });
    choice.addEventListener("change", () => this.bring([...(choice.files ?? [])]));
    fill(
      place,
      element("h2", {}, TEXT.bring),
      element("p", { class: "state" }, TEXT.dropHere),
      element("button", { type: "button", onclick: () => choice.click() }, TEXT.chooseFiles),
      choice,
      this.lines,
    );
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      this.bring([...(event.dataTransfer?.files ?? [])]);
    });
  }

  /** Upload and submit files; parts that belong together make one job. */
  bring(files: File[]): void {
    for (const group of grouped(files)) {
      const line = new Brought(group, this.published);
      this.lines.prepend(line.element);
      void line.start();
    }
  }
}

/** Return the files in groups, the main file of each first. */
export function grouped(files: File[]): File[][] {
  const groups: File[][] = [];
  const mains = files.filter((file) => !SIDECARS.test(file.name));
  for (const main of mains) {
    const stem = main.name.replace(/\.[^.]*$/, "");
    const parts = files.filter((file) => SIDECARS.test(file.name) && file.name.startsWith(`${stem}.`));
    groups.push([main, ...parts]);
  }
  const taken = new Set(groups.flat());
  return [...groups, ...files.filter((file) => !taken.has(file)).map((file) => [file])];
}

class Brought {
  readonly element = element("li");
  private readonly state = element("p", { class: "state", role: "status" });
  private readonly bar = element("progress", { max: "1", value: "0", "aria-label": TEXT.uploading });
  private readonly more = element("div");
  private kind: Kind;
  private submit: Offer["submit"] | undefined;

  constructor(
    private readonly files: File[],
    private readonly published: (collection: string, id: string) => void,
  ) {
    this.kind = RASTER_NAMES.test(files[0]!.name) ? "raster" : "vector";
    fill(this.element, element("strong", {}, files[0]!.name), this.bar, this.state, this.more);
  }

  async start(): Promise<void> {
    try {
      await this.upload();
      await this.run({});
    } catch (error) {
      this.refused(error);
    }
  }

  private async upload(): Promise<void> {
    const size = this.files.reduce((sum, file) => sum + file.size, 0);
    let sent = 0;
    let uploadId: string | undefined;
    this.state.textContent = TEXT.uploading;
    for (const file of this.files) {
      const offer: Offer = await sendJson<Offer>("/api/uploads", {
        file_name: file.name,
        size_bytes: file.size,
        ...(uploadId ? { upload_id: uploadId } : {}),
      });
      if (new URL(offer.url, location.origin).origin !== location.origin) {
        throw new Problem(0, "", TEXT.uploadsElsewhere, "");
      }
      uploadId = offer.upload_id;
      this.submit ??= offer.submit;
      await sendFile(offer.url, file, offer.headers, (part) => (this.bar.value = (sent + part) / size));
      sent += file.size;
    }
    this.bar.value = 1;
  }

  private async run(options: Options): Promise<void> {
    fill(this.more);
    this.bar.removeAttribute("value");
    this.state.textContent = TEXT.submitting;
    const job = await sendJson<Submitted>(`/api/jobs/submit/${JOBS[this.kind]}`, { ...this.submit, ...options });
    await this.follow(job.job_id);
    const ended = await getJson<JobStatus>(`/api/jobs/status/${job.job_id}`);
    this.bar.hidden = true;
    if (ended.errorDetails) {
      const { code, message, remedy } = ended.errorDetails;
      throw new Problem(0, code, message, remedy);
    }
    if (!ended.status.startsWith("completed")) throw new Problem(0, "", TEXT.notEnded, "");
    const items = ended.resultData?.items ?? (ended.resultData ? [ended.resultData] : []);
    this.state.textContent = ended.status === "completed" ? TEXT.done : TEXT.doneWithRejects;
    for (const { collection, item_id } of items) if (collection && item_id) this.published(collection, item_id);
  }

  private follow(jobId: string): Promise<void> {
    return new Promise((resolve) => {
      const events = new EventSource(`/api/jobs/${jobId}/events`);
      const silent = setTimeout(() => (this.state.textContent = TEXT.waiting), SILENT_MS);
      for (const name of EVENTS) {
        events.addEventListener(name, (event) => {
          clearTimeout(silent);
          const said = JSON.parse((event as MessageEvent<string>).data) as { stage?: string; said?: string };
          this.state.textContent = said.said ?? said.stage ?? name;
        });
      }
      const finish = (): void => {
        clearTimeout(silent);
        events.close();
        resolve();
      };
      events.addEventListener("end", finish);
      // A browser connects again by itself, unless the server refused: the status then says why.
      events.addEventListener("error", () => {
        if (events.readyState === EventSource.CLOSED) finish();
      });
    });
  }

  /** Say why it was refused, and offer to try again with other parameters, without an upload. */
  private refused(error: unknown): void {
    this.bar.hidden = true;
    this.state.textContent = "";
    const problem = error instanceof Problem ? error : new Problem(0, "", String(error), "");
    const alert = element(
      "div",
      { role: "alert", class: "refused" },
      element("p", {}, element("strong", {}, problem.code || TEXT.refused), ` ${problem.sentence}`),
      problem.remedy ? element("p", {}, problem.remedy) : undefined,
    );
    fill(this.more, alert, this.submit ? this.again() : undefined);
  }

  private again(): HTMLFormElement {
    const kind = element(
      "select",
      { "aria-label": TEXT.kind },
      element("option", { value: "raster" }, TEXT.rasters),
      element("option", { value: "vector" }, TEXT.tables),
    );
    kind.value = this.kind;
    const fields = element("div", { class: "fields" });
    const show = (): void =>
      fill(
        fields,
        ...PARAMETERS[kind.value as Kind].map((name) =>
          element(
            "label",
            {},
            name,
            element("input", {
              type: "text",
              name,
              spellcheck: "false",
              placeholder: TEXT.examples[name as keyof typeof TEXT.examples] ?? "",
            }),
          ),
        ),
      );
    kind.addEventListener("change", show);
    show();
    return element(
      "form",
      {
        onsubmit: (event) => {
          event.preventDefault();
          this.kind = kind.value as Kind;
          const given = [...fields.querySelectorAll("input")].filter((input) => input.value.trim());
          this.bar.hidden = false;
          this.run(Object.fromEntries(given.map((input) => [input.name, input.value.trim()]))).catch(
            (error: unknown) => this.refused(error),
          );
        },
      },
      kind,
      fields,
      element("button", { type: "submit" }, TEXT.tryAgain),
    );
  }
}
