/** The rows of a table below the map: pages and a filter. */

import { getJson, Problem, withParameters } from "./api";
import { featureCollections, titleOf, type Item } from "./catalog";
import { element, fill } from "./elements";
import { featuresAddress } from "./layers";
import { TEXT } from "./text";

interface Rows {
  features: { id: number; geometry: GeoJSON.Geometry | null; properties: Record<string, unknown> }[];
  numberMatched?: number;
  links: { rel: string; href: string }[];
}

const ROWS_OF_A_PAGE = 50;

export class RowTable {
  private collection = "";
  private filter = "";
  private asked = 0;
  private readonly body = element("div", { class: "rows" });
  private readonly title = element("h2");
  private readonly choice = element("select", { "aria-label": TEXT.tables });
  private readonly filterText = element("input", {
    type: "text",
    placeholder: TEXT.filter,
    "aria-label": TEXT.filter,
    spellcheck: "false",
  });
  private readonly state = element("p", { class: "state", role: "status" });

  constructor(
    private readonly place: HTMLElement,
    private readonly chosen: (geometry: GeoJSON.Geometry | null) => void,
  ) {
    const form = element(
      "form",
      {
        onsubmit: (event) => {
          event.preventDefault();
          this.filter = this.filterText.value.trim();
          void this.first();
        },
      },
      this.choice,
      this.filterText,
      element("button", { type: "submit" }, TEXT.apply),
      element("button", { type: "button", onclick: () => this.close() }, TEXT.close),
    );
    this.choice.addEventListener("change", () => {
      this.collection = this.choice.value;
      void this.first();
    });
    fill(place, element("header", {}, this.title, form), this.state, this.body);
    place.hidden = true;
  }

  /** Show the rows of an item. */
  async open(item: Item): Promise<void> {
    const collections = featureCollections(item);
    this.collection = collections[0]!;
    this.filter = this.filterText.value = "";
    this.title.textContent = titleOf(item);
    fill(this.choice, ...collections.map((name) => element("option", { value: name }, name)));
    this.choice.hidden = collections.length < 2;
    this.place.hidden = false;
    await this.first();
  }

  close(): void {
    this.place.hidden = true;
    this.chosen(null);
  }

  private first(): Promise<void> {
    return this.show(
      withParameters(`${featuresAddress(this.collection)}/items`, {
        limit: ROWS_OF_A_PAGE,
        filter: this.filter,
      }),
      1,
    );
  }

  private async show(address: string, from: number): Promise<void> {
    const asked = ++this.asked;
    let rows: Rows;
    try {
      rows = await getJson<Rows>(address);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (asked === this.asked) this.state.textContent = error.message;
      return;
    }
    if (asked !== this.asked) return;
    const names = [...new Set(rows.features.flatMap((row) => Object.keys(row.properties)))];
    const last = from + rows.features.length - 1;
    this.state.textContent = TEXT.rowsOf(`${Math.min(from, last)}–${last}`, rows.numberMatched);
    const next = rows.links.find((link) => link.rel === "next")?.href;
    fill(
      this.body,
      element(
        "table",
        {},
        element(
          "thead",
          {},
          element("tr", {}, ...["id", ...names].map((name) => element("th", { scope: "col" }, name))),
        ),
        element("tbody", {}, ...rows.features.map((row) => this.row(row, names))),
      ),
      element(
        "nav",
        {},
        from > 1
          ? element("button", { type: "button", onclick: () => void this.first() }, TEXT.firstRows)
          : undefined,
        next
          ? element("button", { type: "button", onclick: () => void this.show(next, last + 1) }, TEXT.nextRows)
          : undefined,
      ),
    );
    this.body.scrollTop = 0;
  }

  private row(row: Rows["features"][number], names: string[]): HTMLTableRowElement {
    const line = element(
      "tr",
      {
        tabindex: "0",
        onclick: () => this.chosen(row.geometry),
        onkeydown: (event) => {
          if ((event as KeyboardEvent).key === "Enter") this.chosen(row.geometry);
        },
      },
      element("td", {}, String(row.id)),
    );
    for (const name of names) line.append(element("td", {}, valueText(row.properties[name])));
    return line;
  }
}

/** Return a value as text; nothing for a missing one. */
export function valueText(value: unknown): string {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
