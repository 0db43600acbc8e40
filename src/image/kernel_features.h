/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_KERNEL_FEATURES_H
#define IMAGE_KERNEL_FEATURES_H

/*
 * Find out the features of a kernel from its configuration (a package's boot/config-*, or the copy
 * in the kernel itself, CONFIG_IKCONFIG), from the list modules.builtin, and from the modules that
 * guests get.  A feature that none of them tells stays unknown.
 *
 * Source: the kernel's kernel/configs.c (IKCFG_ST and IKCFG_ED around a gzip), Kconfig language,
 * Documentation/kbuild/kbuild.rst (modules.builtin).
 */

#include <mvm/kernel.h>

#include "image/module.h"

#define KERNEL_CONFIG_MAX ((size_t)4 << 20)

/*
 * Read a configuration: "CONFIG_X=y" is built in.  "=m" and missing options are not, unless
 * kernel_features_modules() finds their module.
 *
 *   text  NUL-terminated
 */
void kernel_features_config(const char *text, uint8_t features[MVM_KERNEL_FEATURES]);

/* Read the configuration in the kernel itself.  A missing or damaged one changes nothing. */
void kernel_features_ikconfig(const void *elf, size_t len, uint8_t features[MVM_KERNEL_FEATURES]);

/* Read modules.builtin, one path a line: the modules that are built into the kernel.  Only fills in
 * features that the configuration left unknown. */
void kernel_features_builtin(const char *text, uint8_t features[MVM_KERNEL_FEATURES]);

/* Add the features of the modules that guests get.  They override the other sources. */
void kernel_features_modules(const struct module *const *order, size_t n,
			     uint8_t features[MVM_KERNEL_FEATURES]);

#endif
