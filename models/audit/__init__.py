# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the images a config names, found before anything is exported."""
