/* SPDX-License-Identifier: Apache-2.0 */
#include "image/tree_tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A tar in memory to a tree: whatever comes, the limits hold. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct tree_limits limits = {
		.nodes = 2000, .text_bytes = 1 << 20, .file_bytes = 64 << 20, .depth = 32
	};
	AUTO(tree) t = NULL;

	if (tree_tar_scan_buf(data, size, "fuzz", 0, &limits, &t, NULL) < 0)
		return 0;
	if (t->n_nodes > limits.nodes || t->text_bytes > limits.text_bytes ||
	    t->file_bytes > limits.file_bytes)
		abort();
	return 0;
}
