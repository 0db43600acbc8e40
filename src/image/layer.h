/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_LAYER_H
#define IMAGE_LAYER_H

/*
 * The layers of an OCI image as one tree, in memory: nothing is ever unpacked to disk, so that
 * there is nothing a layer could write outside of its tree.  A tar as a source is read as the one
 * layer of an image, so that both give the same tree.
 *
 * Layers are tars that are applied in order.  In each, entries replace what is there by that
 * path; a folder that is a folder again gets the new metadata and keeps what it holds; ".wh.NAME"
 * removes NAME and ".wh..wh..opq" all of a folder as it was before this layer, wherever in the
 * layer they stand.  Other names with ".wh..wh." are notes of aufs: they and what lies below them
 * are skipped, but for ".wh..wh.plnk" in the root, whose files may have other names in their layer;
 * it goes when the layer ends.
 * Paths are made relative, ".." in them is refused, links in them are followed inside the tree.
 * Folders that no entry describes are 0755 and root's.  Attributes named "system.*" (access lists
 * in the form of another kernel's interface) are left out.
 *
 * The streams are read twice, since an image must know its files before their contents.
 *
 * Source: OCI image-spec v1.1, layer.md; moby, pkg/archive/diff.go (aufs).
 */

#include "image/ext4.h"
#include "image/layer_stream.h"

/* Upper bounds; a 0 stands for the default. */
struct layer_limits {
	uint64_t entries;	 /* of all layers together, replaced ones too: 4 Mi */
	uint64_t unpacked_bytes; /* all layers together: unpack_limit() of their sizes */
	struct tree_limits tree; /* file_bytes, which counts holes: 16 TiB */
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

/* Write a merged tree as an ext4 image; what: the source, for messages.  Errors of ext4.h and
 * layers_read(). */
int layers_write_image(const struct layer_source *layers, size_t n,
		       const struct layer_limits *limits, struct tree *t, const char *what,
		       int out_fd, const struct ext4_options *options, struct mvm_error *err);

#endif
