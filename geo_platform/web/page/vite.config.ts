import { defineConfig } from "vite";

// Served below /map. No inlined files: the page's Content-Security-Policy allows no data: scripts.
export default defineConfig({
  base: "/map/",
  build: {
    outDir: "../bundle",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: false,
    target: "es2022",
    chunkSizeWarningLimit: 2000,
  },
});
