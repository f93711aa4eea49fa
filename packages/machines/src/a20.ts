/** One of the controls of address line 20. */
export type A20Control = (open: boolean) => void;

/**
 * Address line 20 has several controls on a PC, any of which opens it; firmware leaves them open. The result makes one more control.
 * @param apply called when the line opens or closes
 */
export function createA20(apply: (open: boolean) => void): () => A20Control {
  const controls: boolean[] = [];
  let isOpen = true;
  return () => {
    const index = controls.push(true) - 1;
    return (open) => {
      controls[index] = open;
      const now = controls.includes(true);
      if (now === isOpen) return;
      isOpen = now;
      apply(now);
    };
  };
}
