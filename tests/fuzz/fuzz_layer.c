/* SPDX-License-Identifier: Apache-2.0 */
#include "../unit/layer_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Layers, each after its length (layer_input.h), are merged into one tree, and their contents are
 * read back.  The limits hold for any input. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(layer_input) in = LAYER_INPUT_NONE;
	AUTO(tree) t = NULL;

	if (layer_input_read(data, size, &in) < 0 ||
	    layers_scan(in.layers, in.n, 0, &layer_input_limits, &t, NULL) < 0)
		return 0;
	if (t->n_nodes > layer_input_limits.tree.nodes ||
	    t->file_bytes > layer_input_limits.tree.file_bytes)
		abort();
	/* the contents may be damaged even if the names are sound */
	layers_read(in.layers, in.n, &layer_input_limits, t, layer_input_check, NULL, NULL);
	return 0;
}
