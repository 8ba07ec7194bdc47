@echo off
rem What gradlew does, on Windows 10 or newer, which has curl, certutil and tar. Written and not run.
setlocal
set "PROPERTIES=%~dp0gradle\wrapper\gradle-wrapper.properties"
for /f "usebackq tokens=1,* delims==" %%a in ("%PROPERTIES%") do (
    if "%%a"=="distributionUrl" set "URL=%%b"
    if "%%a"=="distributionSha256Sum" set "SUM=%%b"
)
if not defined URL echo gradlew: %PROPERTIES% has no distributionUrl. Put the address of a Gradle -bin.zip there.>&2& exit /b 1
if not defined SUM echo gradlew: %PROPERTIES% has no distributionSha256Sum. Put the published one there.>&2& exit /b 1
rem In such a file a backslash stands before the colons.
set "URL=%URL:\=%"
if not defined GRADLE_USER_HOME set "GRADLE_USER_HOME=%USERPROFILE%\.gradle"
for %%f in ("%URL:/=\%") do set "FOLDER=%GRADLE_USER_HOME%\wrapper\dists\%%~nf\%SUM%"
if exist "%FOLDER%" goto run
set "PARTIAL=%FOLDER%.%RANDOM%"
mkdir "%PARTIAL%\unpacked"
echo gradlew: downloading %URL%, once>&2
curl -fsSL -o "%PARTIAL%\download.zip" "%URL%"
if errorlevel 1 set "WHY=%URL% cannot be downloaded. Is there a network?"& goto fail
certutil -hashfile "%PARTIAL%\download.zip" SHA256 | findstr /i /x "%SUM%" >nul
if errorlevel 1 set "WHY=the SHA-256 of %URL% is not the one of %PROPERTIES%. Do not use that file; try another network."& goto fail
tar -xf "%PARTIAL%\download.zip" -C "%PARTIAL%\unpacked"
if errorlevel 1 set "WHY=%URL% cannot be unpacked. Is it a Gradle -bin.zip?"& goto fail
move "%PARTIAL%\unpacked" "%FOLDER%" >nul
rmdir /s /q "%PARTIAL%"
:run
for /d %%d in ("%FOLDER%\*") do set "GRADLE=%%d\bin\gradle.bat"
"%GRADLE%" %*
exit /b %ERRORLEVEL%
:fail
rmdir /s /q "%PARTIAL%"
echo gradlew: %WHY%>&2
exit /b 1
