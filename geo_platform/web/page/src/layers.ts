/** The items that are drawn on the map, from the top to the bottom. */

import type { LayerSpecification, Map as MapLibre, SourceSpecification } from "maplibre-gl";

import { getJson } from "./api";
import { boundsOf, featureCollections, isTable, nameOf, type Item } from "./catalog";

export interface Drawn {
  item: Item;
  opacity: number;
  layers: string[];
  sources: string[];
}

interface TileJson {
  tiles: string[];
  minzoom: number;
  maxzoom: number;
  bounds: [number, number, number, number];
}

interface ServedStyle {
  sources: Record<string, SourceSpecification>;
  layers: LayerSpecification[];
}

const OPACITIES: Record<string, string[]> = {
  raster: ["raster-opacity"],
  fill: ["fill-opacity"],
  line: ["line-opacity"],
  circle: ["circle-opacity", "circle-stroke-opacity"],
};
/** Below the layer with this id all items are drawn. */
export const ABOVE_ITEMS = "footprints";

export class DrawnItems {
  readonly drawn: Drawn[] = [];
  private readonly own = new Map<string, number>();

  constructor(
    private readonly map: MapLibre,
    private readonly changed: () => void,
  ) {}

  get(item: Item): Drawn | undefined {
    return this.drawn.find((each) => nameOf(each.item) === nameOf(item));
  }

  /** Draw an item above the others. Throws Problem: its tiles cannot be described. */
  async add(item: Item): Promise<void> {
    if (this.get(item)) return;
    const found = isTable(item) ? await this.addTable(item) : await this.addRaster(item);
    this.drawn.unshift({ item, opacity: 1, ...found });
    this.changed();
  }

  remove(drawn: Drawn): void {
    for (const layer of drawn.layers) this.map.removeLayer(layer);
    for (const source of drawn.sources) this.map.removeSource(source);
    this.drawn.splice(this.drawn.indexOf(drawn), 1);
    this.changed();
  }

  setOpacity(drawn: Drawn, opacity: number): void {
    drawn.opacity = opacity;
    for (const id of drawn.layers) {
      for (const property of OPACITIES[this.map.getLayer(id)?.type ?? ""] ?? []) {
        const own = this.own.get(`${id} ${property}`) ?? 1;
        this.map.setPaintProperty(id, property as never, (own * opacity) as never);
      }
    }
  }

  /** Move an item above the one before it in the list. */
  raise(drawn: Drawn): void {
    const place = this.drawn.indexOf(drawn);
    if (place < 1) return;
    this.drawn.splice(place, 1);
    this.drawn.splice(place - 1, 0, drawn);
    for (const each of [...this.drawn].reverse()) {
      for (const layer of each.layers) this.map.moveLayer(layer, ABOVE_ITEMS);
    }
    this.changed();
  }

  zoomTo(item: Item): void {
    const bounds = boundsOf(item);
    if (!bounds) return;
    const [west, south, east, north] = bounds;
    const right = east < west ? east + 360 : east;
    this.map.fitBounds([west, Math.max(south, -85), right, Math.min(north, 85)], {
      padding: 40,
      maxZoom: 16,
      animate: false,
    });
  }

  private async addRaster(item: Item): Promise<Pick<Drawn, "layers" | "sources">> {
    const tiles = await getJson<TileJson>(rasterAddress(item, "tilejson.json"));
    const id = `raster ${nameOf(item)}`;
    // A sharp screen shows twice the pixels in the same place.
    const pixels = devicePixelRatio > 1 ? "tilesize=512" : "";
    this.map.addSource(id, {
      type: "raster",
      tiles: tiles.tiles.map((tile) => (pixels ? `${tile}${tile.includes("?") ? "&" : "?"}${pixels}` : tile)),
      tileSize: 256,
      minzoom: tiles.minzoom,
      maxzoom: tiles.maxzoom,
      bounds: tiles.bounds,
    });
    this.map.addLayer({ id, type: "raster", source: id, paint: { "raster-fade-duration": 0 } }, ABOVE_ITEMS);
    return { layers: [id], sources: [id] };
  }

  private async addTable(item: Item): Promise<Pick<Drawn, "layers" | "sources">> {
    const layers: string[] = [];
    const sources: string[] = [];
    for (const collection of featureCollections(item)) {
      const style = await getJson<ServedStyle>(`${tilesAddress(collection)}/style.json`);
      for (const [name, source] of Object.entries(style.sources)) {
        this.map.addSource(`${collection} ${name}`, source);
        sources.push(`${collection} ${name}`);
      }
      for (const layer of style.layers) {
        if (!("source" in layer)) continue;
        const id = `${collection} ${layer.id}`;
        this.map.addLayer({ ...layer, id, source: `${collection} ${layer.source}` }, ABOVE_ITEMS);
        for (const property of OPACITIES[layer.type] ?? []) {
          const own = (layer.paint as Record<string, unknown> | undefined)?.[property];
          this.own.set(`${id} ${property}`, typeof own === "number" ? own : 1);
        }
        layers.push(id);
      }
    }
    return { layers, sources };
  }
}

/** Return the address of a raster's tiles, pictures and values. */
export function rasterAddress(item: Item, ...parts: string[]): string {
  const path = ["raster", "collections", item.collection, "items", item.id].map(encodeURIComponent);
  return `${location.origin}/${[...path, ...parts].join("/")}`;
}

/** Return the address of the rows of a feature collection. */
export function featuresAddress(collection: string): string {
  return `${location.origin}/features/collections/${encodeURIComponent(collection)}`;
}

export function tilesAddress(collection: string): string {
  return `${featuresAddress(collection)}/tiles/WebMercatorQuad`;
}
