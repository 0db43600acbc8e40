/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_LAYER_INTERNAL_H
#define IMAGE_LAYER_INTERNAL_H

/* Shared by layer.c (the merge) and layer_read.c (the contents). */

#include "image/layer.h"

/* The `content` of an inode: the layer and the entry with the file's contents, both from 1. */
#define LAYER_CONTENT(layer, entry) ((uint64_t)(layer) << 40 | (entry))

/* The limits with their defaults. */
struct layer_limits layer_limits_get(const struct layer_limits *limits,
				     const struct layer_source *layers, size_t n);

#endif
