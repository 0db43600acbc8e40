/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SCRIPTED_FIRECRACKER_H
#define TESTS_SCRIPTED_FIRECRACKER_H

/*
 * A program that plays Firecracker: the test's own, started in Firecracker's place.
 *
 * The variable PEER tells it what to do: "<what> <path>", when that path is called.  PEER_VERSION
 * is what it says to --version.  Its guest calls when it boots or is loaded; in a clone it also
 * counts its pauses and resumes in the first byte of one page.
 */

#define SCRIPTED_FIRECRACKER_OWN_PAGE 5

/* Play Firecracker where the arguments are those of Firecracker, and never return; else return.
 * The first step of main(). */
void scripted_firecracker_run(int argc, char **argv);

#endif
