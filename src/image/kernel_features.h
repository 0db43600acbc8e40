/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_KERNEL_FEATURES_H
#define IMAGE_KERNEL_FEATURES_H

/*
 * What a kernel can do, as far as what came with it tells: its configuration (a package's
 * boot/config-*, or the copy in the kernel itself, CONFIG_IKCONFIG), the list modules.builtin, and
 * the modules that guests get.  What none of them tells stays unknown.
 *
 * Source: the kernel's kernel/configs.c (IKCFG_ST and IKCFG_ED around a gzip), Kconfig language,
 * Documentation/kbuild/kbuild.rst (modules.builtin).
 */

#include <mvm/kernel.h>

#include "image/module.h"

#define KERNEL_CONFIG_MAX ((size_t)4 << 20)

/*
 * Read a configuration: "CONFIG_X=y" is built in, "=m" and what is not there is not, as long as no
 * module says otherwise.
 *
 *   text  NUL-terminated
 */
void kernel_features_config(const char *text, uint8_t features[MVM_KERNEL_FEATURES]);

/* Find the configuration in the kernel itself; nothing when it has none, or a damaged one. */
void kernel_features_ikconfig(const void *elf, size_t len, uint8_t features[MVM_KERNEL_FEATURES]);

/* Read modules.builtin, one path a line: all that is not a module of that kernel.  Tells only what
 * the configuration did not. */
void kernel_features_builtin(const char *text, uint8_t features[MVM_KERNEL_FEATURES]);

/* Whatever else was said, these modules are there. */
void kernel_features_modules(const struct module *const *order, size_t n,
			     uint8_t features[MVM_KERNEL_FEATURES]);

#endif
