/** Published items, found by the STAC API. */

import { getJson, withParameters } from "./api";

export interface Asset {
  href: string;
  type?: string;
  title?: string;
}

export interface Item {
  id: string;
  collection: string;
  bbox?: number[];
  geometry: GeoJSON.Geometry | null;
  properties: Record<string, unknown>;
  assets: Record<string, Asset>;
  links: { rel: string; href: string; type?: string }[];
}

export interface Found {
  items: Item[];
  matched: number | undefined;
  next: string | undefined;
}

export interface Wanted {
  words: string;
  kind: "" | "raster" | "vector";
  from: string;
  until: string;
  bbox: number[] | undefined;
}

interface ItemPage {
  features: Item[];
  numberMatched?: number;
  links: { rel: string; href: string }[];
}

/** Return the first page of the items that match. */
export async function findItems(wanted: Wanted, signal: AbortSignal): Promise<Found> {
  const time =
    wanted.from || wanted.until
      ? `${wanted.from ? `${wanted.from}T00:00:00Z` : ".."}/${wanted.until ? `${wanted.until}T23:59:59Z` : ".."}`
      : undefined;
  const address = withParameters("/stac/search", {
    limit: 50,
    q: wanted.words,
    bbox: wanted.bbox?.map((each) => each.toFixed(6)).join(","),
    datetime: time,
    filter: wanted.kind ? `"geo_platform:kind" = '${wanted.kind}'` : undefined,
  });
  return page(address, signal);
}

/** Return the page at an address that a page before it named. */
export async function page(address: string, signal?: AbortSignal): Promise<Found> {
  const answer = await getJson<ItemPage>(address, signal);
  return {
    items: answer.features,
    matched: answer.numberMatched,
    next: answer.links.find((link) => link.rel === "next")?.href,
  };
}

/** Return one item. */
export async function readItem(collection: string, id: string): Promise<Item> {
  const path = [collection, "items", id].map(encodeURIComponent).join("/");
  return getJson<Item>(`/stac/collections/${path}`);
}

export function nameOf(item: Item): string {
  return `${item.collection}/${item.id}`;
}

export function titleOf(item: Item): string {
  return String(item.properties.title ?? item.id);
}

/** Whether the item is a table of features; otherwise it is a raster. */
export function isTable(item: Item): boolean {
  return item.properties["geo_platform:kind"] === "vector";
}

/** Return the ids of the feature collections of an item: several if it was split by geometry. */
export function featureCollections(item: Item): string[] {
  const families = Object.keys(item.assets)
    .map((name) => /^(?:data|table)_(points|lines|polygons|collections)$/.exec(name)?.[1])
    .filter((family) => family !== undefined);
  const base = `${item.collection}:${item.id}`;
  return families.length ? [...new Set(families)].map((family) => `${base}:${family}`) : [base];
}

/** Return west, south, east, north of an item; east < west across the antimeridian. */
export function boundsOf(item: Item): [number, number, number, number] | undefined {
  const box = item.bbox;
  if (!box) return undefined;
  const half = box.length / 2;
  return [box[0]!, box[1]!, box[half]!, box[half + 1]!];
}
