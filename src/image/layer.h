/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_LAYER_H
#define IMAGE_LAYER_H

/*
 * The layers of an OCI image as one tree, in memory: nothing is ever unpacked to disk, so that
 * there is nothing a layer could write outside of its tree.
 *
 * Layers are tars that are applied in order.  In each, entries replace what is there by that
 * path; a folder that is a folder again gets the new metadata and keeps what it holds; ".wh.NAME"
 * removes NAME and ".wh..wh..opq" all of a folder as it was before this layer, wherever in the
 * layer they stand.  Other names with ".wh..wh." are notes of old union file systems and skipped.
 * Paths are made relative, ".." in them is refused, links in them are followed inside the tree.
 *
 * Source: OCI image-spec v1.1, layer.md.
 */

#include "image/layer_stream.h"

/* Upper bounds; a 0 stands for the default. */
struct layer_limits {
	uint64_t entries;     /* of all layers together, replaced ones too: 2 Mi */
	uint64_t file_bytes;  /* contents of all entries: 64 GiB */
	uint64_t layer_base;  /* what any layer may decompress to: 4 GiB, ... */
	uint64_t layer_ratio; /* ... and how many times its size, if that is more: 256 */
	struct tree_limits tree;
};

/*
 * Merge layers.
 *
 *   layers  lowest first
 *   mtime   of folders that no entry describes
 *   limits  NULL: the defaults
 *   ret     a sealed tree, the caller's
 *
 * Returns 0; -EBADMSG (cut, damaged, another diff_id), -EINVAL (an entry that cannot be in an
 * image, by name), -EFBIG (over a limit), -ENOMEM or errno.
 */
int layers_scan(const struct layer_source *layers, size_t n, int64_t mtime,
		const struct layer_limits *limits, struct tree **ret, struct mvm_error *err);

/*
 * Read the contents of the files of a merged tree, in the order of the layers.
 *
 * Returns 0; -EBADMSG, -EBUSY (not the layers that were merged), what fn returned, or errno.
 */
int layers_read(const struct layer_source *layers, size_t n, const struct layer_limits *limits,
		struct tree *t, tree_content_fn fn, void *arg, struct mvm_error *err);

#endif
