// A panel's transformations, done by Grafana's own code.
import { load } from './dashboards.mjs';

const { firstValueFrom } = load('rxjs');
const { standardTransformers, standardTransformersRegistry, transformDataFrame, getFieldDisplayName } = load('@grafana/data');

// Some stand there under two names. Grafana loads each when it is wanted.
const known = new Map(Object.values(standardTransformers).map((transformation) => [transformation.id, transformation]));
standardTransformersRegistry.setInit(() => [...known].map(([id, transformation]) => ({ id, name: transformation.name, transformation: async () => transformation })));

/** The frames that the panel draws. */
export function transformed(panel, frames) {
  const steps = panel.transformations ?? [];
  for (const { id } of steps) {
    if (!standardTransformersRegistry.getIfExists(id)) throw new Error(`Grafana has no transformation ${id}`);
  }
  return firstValueFrom(transformDataFrame(steps, frames));
}

/** The names under which fields are shown, and which overrides and columns refer to. */
export function shown(frames) {
  return frames.flatMap((frame) => frame.fields.map((field) => getFieldDisplayName(field, frame, frames)));
}
