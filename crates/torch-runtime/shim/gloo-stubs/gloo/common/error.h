// Stub; see ../../README.md.
#pragma once
