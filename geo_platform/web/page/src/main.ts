/** The map page: find items, draw them, look at their values and rows. */

import "maplibre-gl/dist/maplibre-gl.css";
import "./style.css";

import {
  Map as MapLibre,
  NavigationControl,
  ScaleControl,
  setWorkerUrl,
  type GeoJSONSource,
  type MapMouseEvent,
} from "maplibre-gl";
import workerUrl from "maplibre-gl/dist/maplibre-gl-worker.mjs?url";

import { getJson, Problem } from "./api";
import { baseStyle, ITEM_COLOUR } from "./base";
import { BroughtFiles } from "./bring";
import {
  boundsOf,
  featureCollections,
  findItems,
  isTable,
  nameOf,
  page as nextPage,
  readItem,
  titleOf,
  type Found,
  type Item,
  type Wanted,
} from "./catalog";
import { copyButton, element, fill } from "./elements";
import { DrawnItems, featuresAddress, rasterAddress, tilesAddress, type Drawn } from "./layers";
import { legendOf } from "./legend";
import { RowTable, valueText } from "./table";
import { TEXT } from "./text";

setWorkerUrl(workerUrl);

const words = element("input", { type: "search", name: "words", "aria-label": TEXT.words, placeholder: TEXT.words });
const kind = element(
  "select",
  { name: "kind", "aria-label": TEXT.kind },
  element("option", { value: "" }, TEXT.anyKind),
  element("option", { value: "raster" }, TEXT.rasters),
  element("option", { value: "vector" }, TEXT.tables),
);
const from = element("input", { type: "date", name: "from" });
const until = element("input", { type: "date", name: "until" });
const inWindow = element("input", { type: "checkbox", name: "window" });
const found = element("p", { class: "state", role: "status" });
const list = element("ul", { class: "items" });
const more = element("button", { type: "button", hidden: true }, TEXT.more);
const details = element("section", { class: "details", "aria-label": TEXT.details, hidden: true });
const bring = element("section", { "aria-label": TEXT.bring, hidden: true });
const layers = element("ul", { class: "layers" });
const mapPlace = element("div", { id: "map" });
const values = element("section", { class: "values", "aria-label": TEXT.values, hidden: true });
const rows = element("section", { class: "table", "aria-label": TEXT.rows });

const search = element(
  "form",
  { role: "search", onsubmit: (event) => (event.preventDefault(), void find()) },
  words,
  kind,
  element("label", {}, TEXT.from, from),
  element("label", {}, TEXT.until, until),
  element("label", { class: "check" }, inWindow, TEXT.inWindow),
  element("button", { type: "submit" }, TEXT.find),
);

fill(
  document.getElementById("page")!,
  element(
    "aside",
    {},
    element(
      "header",
      {},
      element("h1", {}, TEXT.title),
      element("form", { method: "post", action: "/logout" }, element("button", { class: "small" }, TEXT.signOut)),
    ),
    bring,
    element("section", { "aria-label": TEXT.layers }, element("h2", {}, TEXT.layers), layers),
    details,
    element("section", { "aria-label": TEXT.items }, element("h2", {}, TEXT.items), search, found, list, more),
  ),
  element("main", { "aria-label": TEXT.map }, mapPlace, values, rows),
);

const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
const map = new MapLibre({
  container: mapPlace,
  style: baseStyle(isDark),
  center: [10, 30],
  zoom: 1.3,
  hash: "view",
  attributionControl: { compact: true },
});
map.addControl(new NavigationControl({ showCompass: false }), "top-right");
map.addControl(new ScaleControl());

const drawn = new DrawnItems(map, () => {
  showLayers();
  rememberDrawn();
});
const table = new RowTable(rows, (geometry) => select(geometry));

let finding = new AbortController();
let shown: Item[] = [];

function wanted(): Wanted {
  const bounds = map.getBounds();
  return {
    words: words.value.trim(),
    kind: kind.value as Wanted["kind"],
    from: from.value,
    until: until.value,
    bbox: inWindow.checked
      ? [
          Math.max(bounds.getWest(), -180),
          Math.max(bounds.getSouth(), -90),
          Math.min(bounds.getEast(), 180),
          Math.min(bounds.getNorth(), 90),
        ]
      : undefined,
  };
}

async function find(): Promise<void> {
  finding.abort();
  finding = new AbortController();
  const { signal } = finding;
  found.textContent = TEXT.finding;
  try {
    showFound(await findItems(wanted(), signal), true);
  } catch (error) {
    if (!signal.aborted) found.textContent = messageOf(error);
  }
}

function showFound(result: Found, isFirst: boolean): void {
  shown = isFirst ? result.items : [...shown, ...result.items];
  const isAsked = Object.values(wanted()).some((each) => each);
  found.textContent = shown.length
    ? TEXT.found(shown.length, result.matched)
    : isAsked
      ? TEXT.none
      : TEXT.empty;
  fill(list, ...shown.map(itemLine));
  more.hidden = !result.next;
  more.onclick = async () => {
    try {
      showFound(await nextPage(result.next!), false);
    } catch (error) {
      found.textContent = messageOf(error);
    }
  };
  (map.getSource("footprints") as GeoJSONSource | undefined)?.setData({
    type: "FeatureCollection",
    features: shown
      .filter((item) => item.geometry)
      .map((item) => ({ type: "Feature", geometry: item.geometry!, properties: {} })),
  });
}

function itemLine(item: Item): HTMLLIElement {
  const picture = item.assets.thumbnail;
  return element(
    "li",
    {},
    element(
      "button",
      { type: "button", class: "item", onclick: () => void choose(item) },
      picture ? element("img", { src: picture.href, alt: "", loading: "lazy", width: "56", height: "56" }) : undefined,
      element("span", { class: "name" }, titleOf(item)),
      element("span", { class: "where" }, nameOf(item)),
    ),
  );
}

/** Draw an item, zoom to it and show what it is. */
async function choose(item: Item): Promise<void> {
  showDetails(item);
  try {
    await drawn.add(item);
    drawn.zoomTo(item);
  } catch (error) {
    found.textContent = messageOf(error);
  }
}

function showDetails(item: Item): void {
  const facts: [string, unknown][] = [
    [TEXT.taken, item.properties.datetime],
    [TEXT.crs, item.properties["proj:code"]],
    [TEXT.count, item.properties["table:row_count"]],
    [TEXT.source, item.properties["geo_platform:source"]],
    [TEXT.version, item.properties.version],
  ];
  details.hidden = false;
  fill(
    details,
    element("h2", {}, titleOf(item)),
    element(
      "dl",
      {},
      ...facts
        .filter(([, value]) => value !== undefined && value !== null)
        .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, valueText(value))]),
    ),
    element(
      "details",
      {},
      element("summary", {}, TEXT.addresses),
      element("ul", { class: "addresses" }, ...addresses(item).map(([name, text]) => addressLine(name, text))),
    ),
    element("button", { type: "button", class: "small", onclick: () => (details.hidden = true) }, TEXT.close),
  );
}

function addressLine(name: string, text: string): HTMLLIElement {
  return element("li", {}, element("span", {}, name), element("code", {}, text), copyButton(text, TEXT.copy, TEXT.copied));
}

function addresses(item: Item): [string, string][] {
  const self = item.links.find((link) => link.rel === "self")?.href ?? "";
  if (!isTable(item)) {
    const tiles = rasterAddress(item, "tiles", "WebMercatorQuad", "{z}", "{x}", "{y}.webp");
    const data = item.assets.data?.href.split("?")[0] ?? "";
    return [
      [TEXT.tileAddress, tiles],
      [TEXT.tileJson, rasterAddress(item, "tilejson.json")],
      [TEXT.gdal, `GDAL_HTTP_HEADERS="X-Api-Key: $KEY" gdalinfo "/vsicurl/${data}"`],
      [TEXT.stacAddress, self],
    ];
  }
  return featureCollections(item).flatMap((collection): [string, string][] => [
    [TEXT.tileAddress, `${tilesAddress(collection)}/{z}/{x}/{y}`],
    [TEXT.tileJson, `${tilesAddress(collection)}/tilejson.json`],
    [TEXT.featuresAddress, featuresAddress(collection)],
    [
      TEXT.ogr,
      `ogr2ogr --config GDAL_HTTP_HEADERS "X-Api-Key: $KEY" rows.gpkg "OAPIF:${featuresAddress(collection)}"`,
    ],
    [TEXT.stacAddress, self],
  ]);
}

function showLayers(): void {
  fill(
    layers,
    ...(drawn.drawn.length ? drawn.drawn.map(layerLine) : [element("li", { class: "state" }, TEXT.noLayers)]),
  );
}

function layerLine(each: Drawn, place: number): HTMLLIElement {
  const opacity = element("input", {
    type: "range",
    min: "0",
    max: "1",
    step: "0.05",
    value: String(each.opacity),
    "aria-label": `${TEXT.opacity}: ${titleOf(each.item)}`,
    oninput: () => drawn.setOpacity(each, Number(opacity.value)),
  });
  const button = (label: string, act: () => void): HTMLButtonElement =>
    element("button", { type: "button", class: "small", onclick: act }, label);
  return element(
    "li",
    {},
    element("button", { type: "button", class: "name", onclick: () => showDetails(each.item) }, titleOf(each.item)),
    opacity,
    isTable(each.item) ? undefined : legendOf(each.item),
    element(
      "div",
      { class: "buttons" },
      button(TEXT.zoom, () => drawn.zoomTo(each.item)),
      isTable(each.item) ? button(TEXT.showRows, () => void table.open(each.item)) : undefined,
      place > 0 ? button(TEXT.raise, () => drawn.raise(each)) : undefined,
      button(TEXT.remove, () => drawn.remove(each)),
    ),
  );
}

/** Show the values of all drawn items at a place. */
async function showValues(event: MapMouseEvent): Promise<void> {
  const { lng, lat } = event.lngLat.wrap();
  const parts = await Promise.all(
    drawn.drawn.map(async (each) => {
      const lines = isTable(each.item) ? rowsAt(each, event) : await pixelAt(each.item, lng, lat);
      return lines.length ? element("div", {}, element("h3", {}, titleOf(each.item)), ...lines) : undefined;
    }),
  );
  const isAny = parts.some((part) => part);
  values.hidden = drawn.drawn.length === 0;
  fill(
    values,
    element("h2", {}, `${lat.toFixed(5)}, ${lng.toFixed(5)}`),
    ...(isAny ? parts : [element("p", {}, TEXT.noValues)]),
    element("button", { type: "button", class: "small", onclick: () => (values.hidden = true) }, TEXT.close),
  );
}

function rowsAt(each: Drawn, event: MapMouseEvent): HTMLElement[] {
  const { x, y } = event.point;
  const near: [[number, number], [number, number]] = [
    [x - 3, y - 3],
    [x + 3, y + 3],
  ];
  const seen = new Set<unknown>();
  return map
    .queryRenderedFeatures(near, { layers: each.layers })
    .filter((row) => !seen.has(row.id) && seen.add(row.id))
    .slice(0, 5)
    .map((row) => facts(Object.entries(row.properties)));
}

interface PointValues {
  values: Record<string, number | string | null>;
}

async function pixelAt(item: Item, lng: number, lat: number): Promise<HTMLElement[]> {
  const bounds = boundsOf(item);
  if (!bounds || lat < bounds[1] || lat > bounds[3]) return [];
  try {
    const point = await getJson<PointValues>(rasterAddress(item, "point", `${lng},${lat}`));
    const pixels = Object.entries(point.values);
    return pixels.some(([, value]) => value !== null) ? [facts(pixels)] : [];
  } catch (error) {
    // Outside of the raster there is no pixel.
    if (error instanceof Problem && error.status === 404) return [];
    return [element("p", {}, messageOf(error))];
  }
}

function facts(pairs: [string, unknown][]): HTMLElement {
  return element(
    "dl",
    {},
    ...pairs.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, valueText(value))]),
  );
}

/** Show a row of the table on the map. */
function select(geometry: GeoJSON.Geometry | null): void {
  const data: GeoJSON.FeatureCollection = {
    type: "FeatureCollection",
    features: geometry ? [{ type: "Feature", geometry, properties: {} }] : [],
  };
  const source = map.getSource("selected") as GeoJSONSource | undefined;
  if (source) source.setData(data);
  else {
    map.addSource("selected", { type: "geojson", data });
    map.addLayer({
      id: "selected",
      type: "line",
      source: "selected",
      paint: { "line-color": ITEM_COLOUR, "line-width": 3 },
    });
    map.addLayer({
      id: "selected points",
      type: "circle",
      source: "selected",
      filter: ["==", ["geometry-type"], "Point"],
      paint: { "circle-color": ITEM_COLOUR, "circle-radius": 6 },
    });
  }
  const points = geometry ? coordinates(geometry) : [];
  if (points.length) {
    const xs = points.map(([x]) => x!);
    const ys = points.map(([, y]) => y!);
    map.fitBounds([Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)], {
      padding: 80,
      maxZoom: 16,
      animate: false,
    });
  }
}

function coordinates(geometry: GeoJSON.Geometry): number[][] {
  if (geometry.type === "GeometryCollection") return geometry.geometries.flatMap(coordinates);
  let level: unknown = [geometry.coordinates];
  while (Array.isArray((level as unknown[][])[0]?.[0])) level = (level as unknown[][]).flat();
  return level as number[][];
}

/** Keep the drawn items in the address, so that a link leads to exactly this view. */
function rememberDrawn(): void {
  const url = new URL(location.href);
  url.searchParams.delete("item");
  for (const each of drawn.drawn) url.searchParams.append("item", nameOf(each.item));
  history.replaceState(null, "", url);
}

async function drawFromAddress(): Promise<void> {
  const names = new URL(location.href).searchParams.getAll("item");
  for (const name of names.reverse()) {
    const [collection, ...rest] = name.split("/");
    try {
      const item = await readItem(collection!, rest.join("/"));
      await drawn.add(item);
      if (!location.hash) drawn.zoomTo(item);
    } catch (error) {
      found.textContent = messageOf(error);
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

// A reader may not submit jobs.
if (document.documentElement.dataset.scope !== "reader") {
  bring.hidden = false;
  new BroughtFiles(bring, (collection, id) => void drawPublished(collection, id));
}

async function drawPublished(collection: string, id: string): Promise<void> {
  try {
    const item = await readItem(collection, id);
    const before = drawn.get(item);
    if (before) drawn.remove(before);
    await choose(item);
  } catch (error) {
    found.textContent = messageOf(error);
  }
  await find();
}

showLayers();
map.on("click", (event) => void showValues(event));
for (const busy of ["dataloading", "movestart"] as const) {
  map.on(busy, () => mapPlace.setAttribute("aria-busy", "true"));
}
map.on("idle", () => mapPlace.setAttribute("aria-busy", "false"));
map.on("load", async () => {
  await drawFromAddress();
  await find();
  map.getCanvas().setAttribute("aria-label", TEXT.map);
  document.documentElement.dataset.ready = "yes";
});
map.on("moveend", () => {
  if (inWindow.checked) void find();
});
inWindow.addEventListener("change", () => void find());
kind.addEventListener("change", () => void find());
map.on("error", (event) => {
  const { status } = (event.error ?? {}) as { status?: number };
  if (status === 401) found.textContent = TEXT.signInAgain;
});
