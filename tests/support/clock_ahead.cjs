// For `node --require`: shift a server's clock by CLOCK_AHEAD_S seconds, negative for the past.
const aheadMs = Number(process.env.CLOCK_AHEAD_S) * 1000;
const Machine = Date;

globalThis.Date = class extends Machine {
  constructor(...given) {
    if (given.length) super(...given);
    else super(Machine.now() + aheadMs);
  }

  static now() {
    return Machine.now() + aheadMs;
  }
};
